"""A receipt is read as it was written, and nothing else is taken for one."""

import json
from dataclasses import replace

import pytest

from lipsync.store.receipt import (
    Doubt,
    DoubtfulSpan,
    InputFile,
    Inputs,
    Output,
    PlannedRows,
    Receipt,
    Retiming,
    Span,
    SpeakerFacts,
    SpeechFile,
)

LIPS = {"lmd": 0.02, "opening_r": 0.9, "articulation": 1.0, "curve": [[0, 1, 0.5]], "warning": None}
RECEIPT = Receipt(
    id="ab",
    made_by={"lipsync": "0.2.0"},
    ai_edited="the mouth in this video was synthesised",
    changed=[[0.2, 2.4]],
    inputs=Inputs(InputFile("t.mp4", "1"), SpeechFile("s.wav", "2", 2.4), [InputFile("é.mp4", "3")]),
    config={"batch": 8, "write": {"crf": 12}},
    output=Output("o.mp4", 60, 2.4, "25", 1000, "copied", "4"),
    speakers=[SpeakerFacts(1, [[0.0, 2.4]], 0.9, LIPS, {"method": "median"}, 300)],
    retiming=Retiming("retime", 0.01, 0.02, [5], 3, "1.0-3.4 s of the target, 1 jump"),
    plan=PlannedRows([0, 1], [0, 1]),
    rendered_share=0.9,
    passed_through=[Span(0, 4, 0.0, 0.2, "no face")],
    doubt=Doubt(0.5, 0.05, [DoubtfulSpan(5, 6, 0.2, 0.28, "torn or doubled lips", 0.8)], [0.0, 0.8]),
    notes=["odd"],
    details=["encoded"],
    seconds={"total": 3.0},
)


def test_read_as_written(tmp_path):
    RECEIPT.save(tmp_path / "o.json")
    assert Receipt.read(tmp_path / "o.json") == RECEIPT == Receipt.from_plain(RECEIPT.to_plain())
    written = (tmp_path / "o.json").read_text(encoding="utf-8")
    assert written == json.dumps(RECEIPT.to_plain(), indent=1, ensure_ascii=False) + "\n"


def test_the_file_has_the_keys_that_programs_read():
    plain = RECEIPT.to_plain()
    assert " ".join(plain) == (
        "id made_by ai_edited changed inputs config output marks people speakers resting retiming plan rendered_share "
        "passed_through doubt notes details seconds"
    )
    assert plain["inputs"]["speech"] == {"path": "s.wav", "sha256": "2", "duration_s": 2.4, "tempo": 1.0}
    assert " ".join(plain["output"]) == "path frames duration_s rate bytes speech sha256"
    assert plain["doubt"]["curve"] == [0.0, 0.8] and plain["doubt"]["spans"][0] == {
        "from_row": 5, "to_row": 6, "from_s": 0.2, "to_s": 0.28, "reason": "torn or doubled lips", "value": 0.8
    }  # fmt: skip
    assert plain["passed_through"] == [{"from_row": 0, "to_row": 4, "from_s": 0.0, "to_s": 0.2, "reason": "no face"}]


def test_the_summary_says_who_was_dubbed_and_who_was_not():
    spans = [[float(s), s + 0.5] for s in range(6)]
    two = [SpeakerFacts(person=0, spans=spans[:1]), SpeakerFacts(person=2, spans=spans)]
    line = replace(RECEIPT, people=5, speakers=two, resting=[1]).summary()[2]
    assert line == (
        "Dubbed: face 0, 0.00-0.50 s; face 2, 0.00-0.50, 1.00-1.50, 2.00-2.50, 3.00-3.50 s and 2 more. Seen too, with "
        "their mouths as they were: face 3, 4. At rest meanwhile: face 1."
    )
    assert replace(RECEIPT, people=1, speakers=two[:1]).summary()[2] == "Dubbed: the only person seen, 0.00-0.50 s."


def test_the_summary_is_for_people():
    assert RECEIPT.summary() == [
        "o.mp4: 60 frames, 2.40 s, 90 % dubbed, speech copied, rendered in 3 s.",
        "Picture: 1.0-3.4 s of the target, 1 jump.",
        "Lips from the person's own speech; on held-out speech: error 0.0200 eye distances, opening r 0.90, "
        "articulation 1.00.",
        "Passed through unchanged: 0.00-0.20 s (no face).",
        "Look at 5 % of the frames: doubtful most at 0.20-0.28 s (torn or doubled lips; score 0.80); "
        "the receipt lists 1 span.",
        "Note: odd",
    ]
    assert RECEIPT.summary(verbose=True)[-2:] == ["Note: odd", "Note: encoded"]
    assert "not measured" in replace(RECEIPT, speakers=[SpeakerFacts(lips={"lips_from": "prior"})]).summary()[2]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 200_000, b'{"id": 3}', b'{"output": []}', b'{"notes": [3]}'],
)
def test_what_is_damaged_is_no_receipt(tmp_path, content):
    (tmp_path / "o.json").write_bytes(content)
    assert Receipt.read(tmp_path / "o.json") is None


@pytest.mark.parametrize("output", [{"frames": "60"}, {"frames": True}, {"frames": 1.5}, {"duration_s": "long"}])
def test_numbers_are_numbers(output):
    assert Receipt.from_plain({"output": output}) is None


def test_no_file_is_no_receipt(tmp_path):
    assert Receipt.read(tmp_path / "o.json") is None and Receipt.read(tmp_path) is None


def test_sections_that_another_version_lacks_are_empty():
    receipt = Receipt.from_plain({"id": "x", "of_another_version": 1, "passed_through": [{"from_s": 1, "to_s": 2}]})
    assert receipt == Receipt(id="x", passed_through=[Span(from_s=1.0, to_s=2.0)])
