"""The corpus through the command line: right outputs, right sentences, nothing else left in the folder, no traceback. All of it: `make test-slow`."""

from __future__ import annotations

import pytest
from corpus import ITEMS
from corpus_check import run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(folder for films and outputs, cache): shared, so that a film that several items use is made and analysed once."""
    return tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("item", [pytest.param(item, id=item.name, marks=() if item.quick else pytest.mark.slow) for item in ITEMS])
def test_item(place, item):
    assert run(item, *place).faults == []


def test_names_are_unique_and_files_mean_one_thing():
    assert len({item.name for item in ITEMS}) == len(ITEMS)
    films: dict[str, object] = {}
    for item in ITEMS:
        assert films.setdefault(item.target.name, item.target) == item.target, item.target.name
