"""The marks of an output: put in by every writer, before it has its name; said in its receipt; checked before the
work."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, MarkConfig, SignConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.pipelines.marks import Sealing, check_marks, labelled_rows
from lipsync.provenance.consent import consent_of
from lipsync.store.cache import content_hash
from lipsync.store.receipt import Marks, Receipt
from media.credentials import credentials_of
from tests.support.signing import CONTENT, development, edit_of
from tests.support.video_clips import pictures, write_clip
from video.clock import FrameClock
from video.probe import probe
from video.ranges import RangedWriter
from video.splice import SplicedWriter, plan_splice
from video.write import VideoWriter

CLOSED = {"x264-params": "keyint=12:open-gop=0"}


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("target") / "target.mp4", 48, options=CLOSED)


def written(kind: str, target: Path, out: Path, seal) -> Any:
    """`out`, written whole, in ranges, or around the target's packets."""
    stream, clock = probe(target), FrameClock.constant(48, Fraction(25))
    size = {"width": 144, "height": 64, "seal": seal}
    if kind == "spliced":
        plan = plan_splice(stream, np.arange(48) // 12 == 1, out.suffix)
        writer = SplicedWriter(out, plan, clock=stream.clock, **size)
    elif kind == "ranges":
        (out.parent / "ranges").mkdir()
        writer = RangedWriter(out, out.parent / "ranges", 20, clock=clock, **size)
    else:
        writer = VideoWriter(out, clock=clock, **size)
    with writer:
        writer.write(pictures(sum(part.stop - part.start for part in writer.todo)))
    return writer.facts


@pytest.mark.parametrize("kind", ["whole", "ranges", "spliced"])
def test_every_writer_has_its_file_sealed_once_and_before_it_has_its_name(tmp_path, target, kind):
    out, seen = tmp_path / "out.mp4", []

    def seal(part):
        seen.append((part.suffix, out.exists(), len(probe(part))))
        return ["sealed"]

    facts = written(kind, target, out, seal)
    assert seen == [(".mp4", False, 48)] and "sealed" in facts.notes
    assert facts.n_bytes == out.stat().st_size


@pytest.mark.parametrize("kind", ["whole", "ranges", "spliced"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_every_kind_of_output_is_signed_and_validated(tmp_path, target, kind, suffix):
    pytest.importorskip("c2pa")
    pytest.importorskip("cryptography")
    from lipsync.provenance.verify import verify

    config = replace(DubConfig(), sign=development(tmp_path))
    out = tmp_path / f"out{suffix}"
    seal = Sealing(edit_of(target), config.mark, out, check_marks(config, out, None, False), False)
    facts = written(kind, target, out, seal)
    seal.finish()
    found = verify(out)
    assert found.verdict == "signed" and found.credentials is not None
    assert facts.n_bytes == out.stat().st_size and len(probe(out)) == 48
    assert seal.marks.written[-1] == "content credentials" and "untrusted" in seal.marks.signer
    assert seal.marks.sidecar == ("out.c2pa" if suffix == ".mkv" else "")
    assert credentials_of(out).xmp == (suffix == ".mp4") == ("XMP" in seal.marks.written)
    assert any("nobody vouches" in note for note in facts.notes)
    assert sorted(path.name for path in tmp_path.glob("out*")) == sorted({out.name, seal.marks.sidecar or out.name})


def test_a_failed_signature_leaves_nothing(tmp_path, target):
    def seal(part):
        raise LipsyncError("the token was pulled")

    with pytest.raises(LipsyncError, match="pulled"):
        written("whole", target, tmp_path / "out.mp4", seal)
    assert list(tmp_path.iterdir()) == []


def test_without_a_signer_there_is_no_signature_and_the_receipt_says_it(tmp_path, target):
    seal = Sealing(edit_of(target), MarkConfig(aigc="Me"), tmp_path / "out.mp4", None, True)
    written("whole", target, tmp_path / "out.mp4", seal)
    assert not credentials_of(tmp_path / "out.mp4").c2pa
    assert seal.marks == Marks(written=["watermark", "tags", "XMP", "AIGC label", "badge"], watermark=CONTENT)
    assert "not signed" in " ".join(Receipt(marks=seal.marks, seconds={"total": 1.0}).summary())


def test_no_mark_writes_none_and_is_recorded(tmp_path, target):
    seal = Sealing(
        edit_of(target, consent={"text": "Ann"}), MarkConfig(enabled=False), tmp_path / "out.mp4", None, False
    )
    facts = written("whole", target, tmp_path / "out.mp4", seal)
    assert not credentials_of(tmp_path / "out.mp4").xmp and "--no-mark" in " ".join(facts.notes)
    assert seal.marks == Marks(without=True, consent={"text": "Ann"})
    again = Receipt.from_plain(Receipt(marks=seal.marks).to_plain())
    assert again is not None and again.marks == seal.marks


@pytest.mark.parametrize("mark", [{"badge": "eu"}, {"aigc": "Me"}])
def test_no_mark_contradicts_marks(mark):
    with pytest.raises(UsageError, match="--no-mark"):
        check_marks(replace(DubConfig(), mark=MarkConfig(enabled=False, **mark)), Path("out.mp4"), None, False)


def test_a_sidecar_is_not_overwritten_unasked(tmp_path):
    pytest.importorskip("c2pa")
    pytest.importorskip("cryptography")
    config = replace(DubConfig(), sign=development(tmp_path))
    (tmp_path / "out.c2pa").write_bytes(b"a")
    with pytest.raises(LipsyncError, match="--force"):
        check_marks(config, tmp_path / "out.mkv", None, False)
    assert check_marks(config, tmp_path / "out.mkv", None, True) and check_marks(
        config, tmp_path / "out.mp4", None, False
    )


def test_signing_without_the_extra_is_refused_before_the_work(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography.x509", None)
    config = replace(DubConfig(), sign=SignConfig(certificate="c.pem", key="k.pem"))
    with pytest.raises(LipsyncError, match=r"lipsync-dub\[provenance\]"):
        check_marks(config, Path("out.mp4"), None, False)


def test_consent_is_words_or_a_file(tmp_path):
    (tmp_path / "ann.pdf").write_bytes(b"I agree")
    recorded = consent_of(str(tmp_path / "ann.pdf"))
    assert recorded == {"file": "ann.pdf", "sha256": content_hash(tmp_path / "ann.pdf")}
    assert consent_of("Ann agreed, on 3.5. by mail") == {"text": "Ann agreed, on 3.5. by mail"} and consent_of("") == {}
    assert consent_of("so " * 600) == {"text": "so " * 600}
    with pytest.raises(UsageError, match="no such file"):
        consent_of(str(tmp_path / "bob.pdf"))


def test_the_label_stands_in_the_dubbed_parts_or_everywhere():
    faces: Any = [SimpleNamespace(strength=np.array([0, 0, 1, 0, 0.0]))]
    assert labelled_rows(MarkConfig(badge="eu"), faces, True, 25.0).tolist() == [False, False, True, False, False]
    assert labelled_rows(MarkConfig(badge="eu"), faces, False, 25.0).all()
    assert not labelled_rows(MarkConfig(), faces, False, 25.0).any()
    nobody: Any = [SimpleNamespace(strength=np.zeros(5))]
    assert not labelled_rows(MarkConfig(badge="eu"), nobody, False, 25.0).any()
