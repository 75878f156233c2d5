"""Segment files: what is read, and the sentence for what cannot be."""

from fractions import Fraction

import pytest

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.segments import Segment
from lipsync.store.segment_file import check_recordings, labels_of, read_cast, read_cues, segments_of, write_segments


def cues(tmp_path, name, text, encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return [(float(c.start_s), float(c.end_s), c.label, c.speech and c.speech.name) for c in read_cues(path)]


GOOD = {
    "comma.csv": "start,end,person,speech\n1.5,0:03,0,a.wav\n\n 0:01:00.25 ,61,Anna,\n",
    "semicolon.csv": "Person;Speech;Start;End\r\n0;a.wav;1,5;3\r\nAnna;;60,25;0:01:01\r\n",
    "a.srt": "1\n00:00:01,500 --> 00:00:03,000\n0: some words\n\n2\n00:01:00,250 --> 00:01:01,000\n- Anna: more\n",
    "no numbers.srt": "\n\n0:0:1.5 --> 0:0:3\n0: a\nb\n\n\n0:1:0.25 --> 0:1:1\n<v Anna>words</v>",
    "a.vtt": "WEBVTT - by hand\n\nNOTE 0:\nthis --> that\n\nfirst\n00:01.500 --> 00:03.000 align:left\n"
    "<v.loud 0>words\n\n"
    "01:00.250 --> 01:01.000\nAnna: so: yes\n",
    "a.rttm": ";; by a tool\nSPKR-INFO film 1 <NA> <NA> <NA> unknown 0 <NA> <NA>\n"
    "SPEAKER film 1 1.5 1.5 <NA> <NA> 0 <NA> <NA>\nSPEAKER film 1 60.25 0.75 <NA> <NA> Anna <NA> <NA>\n",
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_all_formats_say_the_same(tmp_path, name, encoding):
    speech = "a.wav" if name.endswith(".csv") else None
    assert cues(tmp_path, name, GOOD[name], encoding) == [(1.5, 3.0, "0", speech), (60.25, 61.0, "Anna", None)]


def test_words_that_name_nobody(tmp_path):
    text = "1\n0:0:1 --> 0:0:2\nAt 10:30 we go\n\n2\n0:0:3 --> 0:0:4\nThe one thing we know: nothing\n"
    assert [c[2] for c in cues(tmp_path, "a.srt", text)] == ["", ""]


BAD = [
    ("a.txt", "x", r"a\.txt: segments are read from \.csv, \.srt, \.vtt and \.rttm"),
    ("a.csv", "start,end,person\n", r"a\.csv has no segments"),
    ("a.csv", "", r"a\.csv is empty"),
    ("a.srt", " \n\n", r"a\.srt is empty"),
    ("a.csv", "start,,end\n1,,2\n", r"line 1: a column has no name. The first row is start,end,person,speech"),
    ("a.csv", "\nstart,until\n1,2\n", r"line 2: there is no column 'until'"),
    ("a.csv", "\nstart,end,,\n1,2,,\n2,x,,\n", r"line 4: 'x' is no end"),
    ("a.csv", "start,end,speach\n1,2,x\n", r"line 1: there is no column 'speach'. Did you mean 'speech'\?"),
    ("a.csv", "1,2,0,a.wav\n", r"line 1: there is no column '1'. The first row is start,end,person,speech"),
    ("a.csv", "start,person\n1,2\n", r"line 1: the first row must name start and end"),
    ("a.csv", "start,end\n1,2\n\n3,x\n", r"line 4: 'x' is no end: write seconds, such as 83.5"),
    ("a.csv", "start,end\n,2\n", r"line 2: the start is missing"),
    ("a.csv", "start,end\n1,5,2,5\n", r"line 2: more cells than columns"),
    ("a.csv", "start;end\n00:00:01:12;3\n", r"line 2: '00:00:01:12' is no start"),
    ("a.csv", "start;end\n1;-3\n", r"line 2: '-3' is no end"),
    ("a.srt", "1\n00:00:01 -> 00:00:02\nx\n", r"line 1: this is no SRT: '1' stands where a time"),
    ("a.srt", "1\n00:00:01,0 --> 00:61:02,0\nx\n", r"line 2: '00:61:02,0' is no time"),
    ("a.vtt", "1\n00:01 --> 00:02\n", r"line 1: a WebVTT file begins with the word WEBVTT"),
    ("a.rttm", "SPEAKER film 1 1.5 x <NA> <NA> 0 <NA>\n", r"line 1: 'x' is no duration"),
    ("a.rttm", "1.5 3 Anna\n", r"line 1: this is no RTTM"),
]


@pytest.mark.parametrize(("name", "text", "sentence"), BAD)
def test_what_cannot_be_read_says_where(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=sentence) as error:
        read_cues(tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_other_encodings_and_missing_files(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"start,end,person\n1,2,Zo\xeb\n")
    with pytest.raises(UsageError, match=r"a\.csv, line 2: this is not UTF-8"):
        read_cues(tmp_path / "a.csv")
    with pytest.raises(UsageError, match=r"b\.csv cannot be read: No such file"):
        read_cues(tmp_path / "b.csv")


def test_a_recording_that_is_missing_says_which_line_names_it(tmp_path):
    (tmp_path / "a.csv").write_text("start,end,speech\n1,2,here.wav\n2,3,gone.wav\n")
    (tmp_path / "here.wav").write_bytes(b"x")
    with pytest.raises(LipsyncError, match=r"a\.csv, line 3: The speech file .*gone\.wav does not exist"):
        check_recordings(read_cues(tmp_path / "a.csv"))


def test_labels_become_faces(tmp_path):
    (tmp_path / "a.csv").write_text("start,end,person\n1,2,Anna\n3,4,1\n5,6,\n7,8,Ben\n")
    read = read_cues(tmp_path / "a.csv")
    assert labels_of(read, {"Ben": 0}) == ["Anna"]
    assert [s.person for s in segments_of(read, {"Ben": 0, "Anna": 2, "1": 3})] == [2, 3, None, 0]
    with pytest.raises(UsageError, match=r"line 2: nothing says which face 'Anna' is. Add --cast 'Anna=N'"):
        segments_of(read, {"Ben": 0})
    with pytest.raises(UsageError, match=r"--cast Bob=1: no segment has this label. It has 'Anna', '1', 'Ben'"):
        labels_of(read, {"Bob": 1})
    assert read_cast(["Anna=2", "a=b=0"]) == {"Anna": 2, "a=b": 0}
    for wrong in (["Anna"], ["Anna=x"], ["=1"]):
        with pytest.raises(UsageError, match="must be LABEL=N"):
            read_cast(wrong)
    with pytest.raises(UsageError, match="two faces for 'A'"):
        read_cast(["A=1", "A=2"])


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "out.csv"
    write_segments(path, [Segment(Fraction(1, 3), Fraction(2), 1), Segment(Fraction(2), Fraction(5, 2))])
    assert cues(tmp_path, "out.csv", path.read_text()) == [(0.333, 2.0, "1", None), (2.0, 2.5, "", None)]
