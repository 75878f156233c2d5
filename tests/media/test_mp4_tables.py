"""Counts of samples that cannot be in a file are found, and nothing else is refused."""

from __future__ import annotations

import struct

import pytest

from audio.load import load_speech
from media import MediaError
from media.mp4_tables import impossible_count
from tests.fuzz import seeds
from video.probe import probe


def test_whole_files_state_nothing_impossible(tmp_path):
    for path in [*seeds.make_videos(tmp_path), *seeds.make_sounds(tmp_path)]:
        assert impossible_count(path) is None, path.name


def with_count(whole: bytes, name: bytes, at: int, count: int) -> bytes:
    place = whole.index(name) + 4 + at
    return whole[:place] + struct.pack(">I", count) + whole[place + 4 :]


@pytest.mark.parametrize(
    "clip, name, at", [("h264.mp4", b"stsz", 8), ("frag.mp4", b"trun", 4), ("turned.mov", b"stsz", 8)]
)
def test_impossible_counts_are_refused(tmp_path, clip, name, at):
    seeds.make_videos(tmp_path)
    path = tmp_path / clip
    path.write_bytes(with_count(path.read_bytes(), name, at, 2**31 - 1))
    assert impossible_count(path) == 2**31 - 1
    with pytest.raises(MediaError, match=f"{clip} is damaged: it states 2,147,483,647 samples"):
        probe(path)
    with pytest.raises(MediaError, match="2,147,483,647 samples"):
        load_speech(path)


def test_atoms_with_long_sizes_and_cut_files_are_walked(tmp_path):
    table = struct.pack(">I4sIII", 20, b"stsz", 0, 0, 10**9)
    long_one = struct.pack(">I4sQ", 1, b"stbl", 16 + len(table)) + table
    (tmp_path / "a").write_bytes(struct.pack(">I4s", 0, b"moov") + long_one)  # size 0: to the end of the file
    assert impossible_count(tmp_path / "a") == 10**9
    whole = (tmp_path / "a").read_bytes()
    for n in range(len(whole)):
        (tmp_path / "b").write_bytes(whole[:n])
        impossible_count(tmp_path / "b")
    assert impossible_count(tmp_path / "none") is None
