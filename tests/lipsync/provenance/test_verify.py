"""What `lipsync verify` says of files with and without marks, of altered ones, and of a hundred hostile ones."""

from __future__ import annotations

import json
import random
import resource
import struct
from dataclasses import replace
from pathlib import Path

import av
import pytest

from lipsync.core.errors import LipsyncError
from lipsync.provenance import verify as module
from lipsync.provenance.labels import aigc_label, content_in, read_aigc, spans_in
from lipsync.provenance.verify import verify
from lipsync.provenance.watermark import Watermark
from lipsync.store.cache import content_hash
from lipsync.store.receipt import Marks, Output, Receipt
from media.xmp import UUID, append_xmp, source_type_packet
from tests.support.signing import SPANS, development, edit_of, flipped, media_at
from tests.support.video_clips import write_clip

COMMENT = (
    "AI-edited by lipsync 0.2.0 (texture: median): the mouth in this video was synthesised at 0.20-0.80 s, "
    "1.20-1.60 s. Made from target sha256 0a, speech sha256 0b."
)
SOURCE = "compositeWithTrainedAlgorithmicMedia"
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def tagged(path: Path, source: Path, **tags: str) -> Path:
    """A copy of the clip with these tags."""
    options = {"movflags": "use_metadata_tags"} if path.suffix == ".mp4" else {}
    with av.open(str(source)) as was, av.open(str(path), "w", options=options) as out:
        stream = out.add_stream_from_template(was.streams.video[0])
        out.metadata.update(tags)
        for packet in was.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("plain") / "plain.mp4", 50)


@pytest.fixture(scope="module")
def signed(tmp_path_factory, plain) -> Path:
    """A dub with every mark."""
    pytest.importorskip("c2pa")
    pytest.importorskip("cryptography")
    from lipsync.provenance.certificates import identity_of
    from lipsync.provenance.manifest import sign_file

    folder = tmp_path_factory.mktemp("signed")
    path = tagged(folder / "dub.mp4", plain, comment=COMMENT, digital_source_type=SOURCE, AIGC=aigc_label("Me", "77"))
    append_xmp(path, source_type_packet(SOURCE, "lipsync"))
    identity = identity_of(development(folder))
    assert identity is not None
    sign_file(path, ".mp4", edit_of(plain, consent={"text": "Ann agreed"}), identity)
    return path


look_for_watermark = module.watermark_in


@pytest.fixture(autouse=True)
def not_looked_for(monkeypatch):
    """Faces are looked for in tests of the watermark; here what they hold is told."""
    monkeypatch.setattr(module, "watermark_in", lambda path, limits: Watermark())


def receipt_for(path: Path, **more) -> Path:
    receipt = Receipt(id="1dea", ai_edited="the mouth", changed=[[0.1, 0.2]], output=Output(sha256=content_hash(path)))
    beside = path.with_name(f"{path.name}.json")
    replace(receipt, **more).save(beside)
    return beside


def test_a_file_without_marks(tmp_path, plain):
    found = verify(plain)
    assert found.verdict == "nothing" and not found.by_machine and found.missing == []
    assert found.lines()[0] == "plain.mp4: no mark was found."
    assert "does not show that the video is as it was filmed" in " ".join(found.lines()[-1].split())


def test_every_layer_of_a_signed_dub_is_read(signed):
    found = verify(signed)
    assert found.verdict == "signed" and found.by_machine and found.missing == [module._NO_RECEIPT]
    assert found.spans == SPANS and found.spans_by == "content credentials say"
    assert found.xmp_source_type == SOURCE and found.tags["digital_source_type"] == SOURCE
    assert found.aigc == {"Label": "1", "ContentProducer": "Me", "ProduceID": "77"}
    text = "\n".join(found.lines())
    assert "signature and content agree" in text and "it shows nothing of who signed" in " ".join(text.split())
    assert "Ann agreed" in text
    assert max(map(len, text.split("\n"))) <= 80
    assert json.loads(json.dumps(found.to_plain()))["verdict"] == "signed"


def test_one_flipped_bit_of_the_picture_is_told(signed):
    found = verify(flipped(signed, media_at(signed)))
    assert found.verdict == "altered" and "do not agree" in found.lines()[0]
    assert "the content is not what was signed" in " ".join("\n".join(found.lines()).split())


def test_a_changed_manifest_is_told(signed):
    content = signed.read_bytes()
    found = verify(flipped(signed, content.index(b"1.2", content.index(b"npt"))))  # a span that says another time
    assert found.verdict == "altered" and "not valid" in found.lines()[1]


def test_a_file_written_anew_by_others_has_its_tags_alone(tmp_path, signed):
    found = verify(tagged(tmp_path / "again.mkv", signed, comment=COMMENT))
    assert found.verdict == "marked" and found.by_machine and found.credentials is None
    assert found.spans == [[0.2, 0.8], [1.2, 1.6]] and found.spans_by == "comment says"
    assert any("signature" in one for one in found.missing) and "no signature stands for it" in found.summary


@pytest.mark.parametrize("layer", ["comment", "source", "xmp", "aigc"])
def test_each_unsigned_mark_alone_says_what_it_is(tmp_path, plain, layer):
    tags = {
        "comment": {"comment": COMMENT},
        "source": {"digital_source_type": SOURCE},
        "aigc": {"AIGC": aigc_label("A", "1")},
    }
    path = tagged(tmp_path / "t.mp4", plain, **tags.get(layer, {}))
    if layer == "xmp":
        assert append_xmp(path, source_type_packet("trainedAlgorithmicMedia", "other"))
    found = verify(path)
    assert found.verdict == "marked" and found.by_machine


def test_a_camera_is_no_machine(tmp_path, plain):
    path = tagged(tmp_path / "t.mp4", plain)
    append_xmp(path, source_type_packet("digitalCapture", "camera"))
    assert verify(path).verdict == "marked" and not verify(path).by_machine


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_receipt_beside_a_file_is_compared(tmp_path, plain, suffix):
    path = tagged(tmp_path / f"t{suffix}", plain)
    beside = receipt_for(path, marks=Marks(without=True, consent={"file": "ann.pdf", "sha256": "0c"}))
    found = verify(path)
    assert found.verdict == "receipt" and found.by_machine and found.spans == [[0.1, 0.2]]
    text = " ".join("\n".join(found.lines()).split())
    assert "of just these bytes; it was made without marks (--no-mark)" in text and "ann.pdf" in text
    with path.open("ab") as file:
        file.write(b"\0\0\0\x08free")
    found = verify(path)
    assert found.verdict == "nothing" and not found.by_machine and found.receipt and not found.receipt.is_of_file
    beside.write_text("[" * 100000)
    assert "damaged" in verify(path).unread["receipt"]


def test_without_the_extra_the_other_layers_are_read(signed, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    found = verify(signed)
    assert found.verdict == "unchecked" and found.tags and found.xmp_source_type == SOURCE
    assert "lipsync-dub[provenance]" in " ".join("\n".join(found.lines()).split())


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.mp4"):
        with pytest.raises(LipsyncError):
            verify(path)


@pytest.mark.parametrize(("held", "says"), [("00112233445566ff", "names it"), ("99", "names another")])
def test_the_watermark_is_compared_with_what_the_other_layers_name(tmp_path, plain, monkeypatch, held, says):
    monkeypatch.setattr(module, "watermark_in", lambda path, limits: Watermark("00112233445566ff", "", [[0.0, 2.0]]))
    path = tagged(tmp_path / "t.mp4", plain, comment=f"{COMMENT} Watermark {held:0>16}.")
    receipt_for(path, marks=Marks(watermark=held))
    found, same = verify(path), held == "00112233445566ff"
    assert found.watermark_by == {"comment": same, "receipt": same} and found.by_machine
    text = " ".join("\n".join(found.lines()).split())
    assert "content 00112233445566ff, found at 0.00-2.00 s" in text and f"the receipt {says}" in text
    assert max(len(line) for said in found.lines() for line in said.split("\n")) <= 80


def test_a_film_that_others_encoded_again_has_the_watermark_alone(tmp_path, plain, monkeypatch):
    monkeypatch.setattr(module, "watermark_in", lambda path, limits: Watermark("0" * 16, "", [[0.0, 2.0]]))
    found = verify(plain)
    assert found.verdict == "marked" and found.by_machine and found.watermark_by == {}
    assert found.spans == [[0.0, 2.0]] and found.spans_by == "watermark shows"


def test_labels():
    assert spans_in(COMMENT) == SPANS and spans_in("0.1-0.2 s") == [] and spans_in("") == []
    assert content_in(f"{COMMENT} Watermark 00112233445566ff.") == "00112233445566ff" and content_in(COMMENT) == ""
    assert json.loads(aigc_label('A "b"', "1"))["ContentProducer"] == 'A "b"'
    assert [read_aigc(one) for one in ("", "3", "[]", "{}", "[" * 99999, '{"a": 1}')] == [None] * 6


# --- a hundred hostile files


def box(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I4s", len(body) + 8 if size is None else size, name) + body


def jumbf(random_: random.Random, depth: int) -> bytes:
    """A manifest store of boxes in boxes, whose sizes are lies."""
    body = box(b"jumd", b"c2pa" + random_.randbytes(12) + b"\x03c2pa\0")
    for _ in range(depth):
        body = box(b"jumb", body, random_.choice([None, None, 1, 0, 0xFFFFFFFF]))
    return body


def c2pa_box(store: bytes) -> bytes:
    return box(b"uuid", C2PA_UUID + b"\0\0\0\0manifest\0" + bytes(8) + store)


def hostile(kind: str, seed: int, good: bytes, plain: bytes) -> bytes:
    """One file; the same for the same seed."""
    r = random.Random(f"{kind}{seed}")
    if kind == "cut":
        return good[: r.randrange(1, len(good))]
    if kind == "noise in it":
        content = bytearray(good)
        for _ in range(r.randrange(1, 400)):
            content[r.randrange(len(content))] = r.randrange(256)
        return bytes(content)
    if kind == "manifest of another":
        at = good.index(C2PA_UUID) - 4
        size = int.from_bytes(good[at - 4 : at], "big")
        first = int.from_bytes(plain[:4], "big")
        cut = good[at - 4 : at - 4 + size]
        return plain[:first] + cut + plain[first:] if seed % 2 else plain + cut
    if kind == "huge boxes":
        lie = r.choice([0xFFFFFFFF, 0x7FFFFFFF, 1 << 30])
        huge = struct.pack(">I4sQ", 1, b"uuid", r.choice([1 << 62, (1 << 64) - 1, 1 << 40])) + C2PA_UUID + bytes(9)
        return plain + r.choice(
            [huge, box(b"uuid", C2PA_UUID + b"\0\0\0\0manifest\0", lie), box(r.randbytes(4), b"", lie)]
        )
    if kind == "lying store":
        return plain + c2pa_box(jumbf(r, r.choice([1, 3, 100, 5000])) + r.randbytes(r.randrange(200)))
    if kind == "odd XMP":
        said = r.choice([b"\x1b[31m", b"<!ENTITY a '&a;&a;'>&a;", b"\xff\xfe", b"A" * 200000])
        packet = b"<x:xmpmeta>DigitalSourceType>" + said + b"</x:xmpmeta>"
        return plain + box(b"uuid", UUID + packet)
    if kind == "noise":
        return r.choice([b"", b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"RIFF"]) + r.randbytes(r.randrange(1, 5000))
    raise AssertionError(kind)


#: What may be said of each kind.
SAID = {
    "cut": {"altered", "unreadable", "marked", "nothing"},
    "noise in it": {"altered", "marked", "nothing", "unreadable"},
    "manifest of another": {"altered"},
    "huge boxes": {"nothing", "altered", "unreadable"},
    "lying store": {"altered"},
    "odd XMP": {"marked", "nothing"},
    "noise": {"unreadable", "nothing"},
}


def answered(path: Path, kind: str, seed: int, good: bytes, plain: bytes) -> None:
    """Holds that a hostile file is answered by a short sentence that fits it."""
    path.write_bytes(hostile(kind, seed, good, plain))
    found = verify(path)
    text = "\n".join(found.lines())
    assert found.verdict in SAID[kind], (kind, seed, text)
    assert all(letter.isprintable() or letter == "\n" for letter in text), (kind, seed)
    assert len(text) < 4000 and json.dumps(found.to_plain(), allow_nan=False), (kind, seed)
    if kind == "cut" and found.verdict == "marked":
        assert found.by_machine


def test_a_hundred_hostile_files_get_a_sentence_and_little_memory(tmp_path, signed, plain):
    good, clean, before = signed.read_bytes(), plain.read_bytes(), 0
    for seed in range(15):
        for kind in SAID:
            answered(tmp_path / f"{seed}.mp4", kind, seed, good, clean)
        before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("kind", SAID)
def test_hostile_files_are_looked_into_for_a_watermark_too(tmp_path, signed, plain, kind, monkeypatch):
    monkeypatch.setattr(module, "watermark_in", look_for_watermark)
    for seed in (20, 21):
        answered(tmp_path / f"{seed}.mp4", kind, seed, signed.read_bytes(), plain.read_bytes())


@pytest.mark.parametrize(
    "tags",
    [
        {"comment": COMMENT + "\x1b]0;own\x07" * 50, "AIGC": "{" * 5000},
        {"comment": "AI-edited by lipsync" + "9" * 40 + "-" + "9" * 400 + " s" * 9000},
        {"digital_source_type": "\u202eaideM\x00\x1b[2J" * 400},
        {"AIGC": json.dumps({"Label": "1", "x" * 999: "\x1b" * 999} | {str(i): "y" for i in range(999)})},
    ],
)
def test_forged_tags_stay_short_and_obey_nobody(tmp_path, plain, tags):
    text = "\n".join(
        verify(tagged(tmp_path / "t.mkv", plain, **{k: v.replace("\0", "") for k, v in tags.items()})).lines()
    )
    assert len(text) < 6000 and all(letter.isprintable() or letter == "\n" for letter in text)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 99, b"[" * 99999, b'{"output": {"sha256": 3}}'])
def test_hostile_receipts_and_sidecars(tmp_path, plain, content):
    path = tagged(tmp_path / "t.mkv", plain)
    path.with_name("t.mkv.json").write_bytes(content)
    found = verify(path)
    assert found.verdict == "nothing"
    path.with_suffix(".c2pa").write_bytes(content)
    pytest.importorskip("c2pa")
    assert verify(path).verdict in ("nothing", "altered")
