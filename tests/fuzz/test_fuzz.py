"""The fuzz run in short, and that it would catch a crash, a hang, an unexpected exception, filled memory and a bad
sentence."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import pytest

from lipsync.core.errors import LipsyncError
from media import MediaError
from tests.fuzz.__main__ import fuzz, inputs_of
from tests.fuzz.pool import Input, Limits, make_seeds, run
from tests.fuzz.readers import KINDS, Kind, Wrong


@pytest.mark.slow
def test_a_few_hundred_damaged_files_of_every_kind():
    measures = fuzz(sorted(KINDS), 200, 1, 5.0, None)
    assert measures["inputs"] == 200 and measures["findings"] == 0, measures["causes"]
    assert all(
        sum(n for verdict, n in counts.items() if verdict != "slowest_s") >= 2 for counts in measures["kinds"].values()
    )


def test_whole_files_are_read_and_made_the_same_again(tmp_path):
    """Otherwise the run would only ever try one branch; and the same seed is the same inputs."""
    for folder in (tmp_path / "one", tmp_path / "two"):
        make_seeds(KINDS, KINDS, folder)
    for name, kind in KINDS.items():
        for path in sorted(tmp_path.glob(f"one/{name}/*")):
            assert path.read_bytes() == (tmp_path / "two" / name / path.name).read_bytes(), path.name
        given = [Input(name, number, 7) for number in range(5)]
        once, again = ([one.bytes_of(KINDS, tmp_path / folder) for one in given] for folder in ("one", "two"))
        assert once == again and len({content for content, _ in once}) > 1
        work = tmp_path / "work" / name
        work.mkdir(parents=True)
        for path in sorted(tmp_path.glob(f"two/{name}/*")):
            if path.suffix in (".gif", ".mjpeg"):
                with pytest.raises(MediaError, match="no audio track"):
                    kind.read(path, work)
            else:
                kind.read(path, work)


def test_inputs_are_spread_by_shares():
    given = [one.kind for one in inputs_of(["video", "archive"], 64, 1, KINDS)]
    assert given.count("video") == 60 and given.count("archive") == 4


def _text(folder: Path) -> list[Path]:
    (folder / "a.txt").write_text("some words")
    return [folder / "a.txt"]


def _crash(path, work):
    ctypes.string_at(0)


def _hang(path, work):
    time.sleep(60)


def _fill(path, work):
    kept = bytearray(900 << 20)
    kept[:: 1 << 12] = b"x" * len(kept[:: 1 << 12])
    time.sleep(2)


def _raise(path, work):
    {}["nothing"]


def _answer_wrongly(path, work):
    raise Wrong("an answer that cannot be")


def _say_nothing(path, work):
    raise LipsyncError("no\x1b[31m")


def _leave(path, work):
    (work / ".out.part.mp4").touch()


def _refuse(path, work):
    raise LipsyncError("a.txt is not what it should be. Copy it again.")


def _return(path, work):
    pass


def bad_kinds() -> dict[str, Kind]:
    readers = {
        "crash": _crash,
        "hang": _hang,
        "memory": _fill,
        "unexpected": _raise,
        "wrong": _answer_wrongly,
        "poor sentence": _say_nothing,
        "leftovers": _leave,
        "refused": _refuse,
        "read": _return,
    }
    return {name: Kind(_text, {}, read, 1) for name, read in readers.items()}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """What became of two inputs of each bad kind."""
    seeds, kinds = tmp_path_factory.mktemp("fuzz") / "seeds", bad_kinds()
    make_seeds(kinds, kinds, seeds)
    inputs = (
        Input(name, number, 1) for number in range(2) for name in kinds if number == 0 or name in ("refused", "read")
    )
    return {
        f"{o.input.kind} {o.input.number}": o
        for o in run(inputs, bad_kinds, seeds, Limits(hang_s=5.0, memory_bytes=800 << 20))
    }


@pytest.mark.parametrize("verdict", sorted(bad_kinds()))
def test_every_kind_of_failure_is_caught(outcomes, verdict):
    assert outcomes[f"{verdict} 0"].verdict == verdict, outcomes[f"{verdict} 0"].text


def test_the_run_goes_on_after_them(outcomes):
    assert outcomes["refused 1"].verdict == "refused" and outcomes["read 1"].verdict == "read" and len(outcomes) == 11
    assert "KeyError" in outcomes["unexpected 0"].text and "Segmentation" in outcomes["crash 0"].text
    assert outcomes["hang 0"].seconds >= 8
