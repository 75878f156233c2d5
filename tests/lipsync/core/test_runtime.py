"""How many threads torch takes."""

import pytest
import torch

from lipsync.core.runtime import all_threads, one_thread


@pytest.fixture(autouse=True)
def three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_all_threads_within_one_are_those_before():
    with one_thread():
        with one_thread():
            assert torch.get_num_threads() == 1
            with all_threads():
                assert torch.get_num_threads() == 3
            assert torch.get_num_threads() == 1
        with all_threads():
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 3
    torch.set_num_threads(2)
    with all_threads():
        assert torch.get_num_threads() == 2


def test_threads_come_back_after_a_failure():
    with pytest.raises(KeyError), one_thread(), all_threads():
        raise KeyError
    assert torch.get_num_threads() == 3
