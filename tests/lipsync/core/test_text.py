"""Words for people, and text files of other systems."""

import json
import os

import pytest

from lipsync.core.text import counted, decoded, nearest, readable


def test_bytes_of_names_are_written_as_escapes():
    name = os.fsdecode("naïve ".encode() + b"gr\xfc\xdfe.wav")
    assert readable(name) == "naïve gr\\xfc\\xdfe.wav"
    plain = {"path": name, name: [1, None, (name, 2.5)], "good": "日本"}
    json.dumps(readable(plain), ensure_ascii=False).encode("utf-8")
    assert readable(plain)["good"] == "日本" and readable(plain)[readable(name)] == [1, None, [readable(name), 2.5]]
    assert readable("lone\ud800") == "lone\\ud800"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_says_how_it_is_written(encoding):
    assert decoded("crf = 14 # größer".encode(encoding)) == "crf = 14 # größer"


def test_other_text_is_refused():
    with pytest.raises(UnicodeDecodeError):
        decoded("größer".encode("latin-1"))


def test_one_is_no_plural():
    assert (counted(1, "job"), counted(2, "job"), counted(0, "job")) == ("1 job", "2 jobs", "0 jobs")
    assert nearest("speach", ["speech"]) == "Did you mean 'speech'?" and nearest("xyz", ["speech"], "no") == "no"
