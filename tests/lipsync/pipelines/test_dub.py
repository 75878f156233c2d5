"""Whole dubs of the synthetic presenter, small and short."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig, LipsConfig, RetimeConfig, WriteConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.runtime import pick_device
from lipsync.core.segments import Segment
from lipsync.learning import lips
from lipsync.pipelines.dub import dub, prepare
from lipsync.pipelines.loops import LOOPS, arguments_of
from lipsync.pipelines.output import Dub
from lipsync.render.mark import ID_DIGITS
from lipsync.store.cache import Cache, content_hash
from lipsync.store.fingerprint import fingerprint
from tests.support import ROOT
from tests.support.sound import heard_in
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter

dub_page = importlib.import_module("lipsync.pipelines.dub")  # the package's own name is the function
#: Little training: these tests are about everything but the quality of the lips.
QUICK = DubConfig(lips=LipsConfig(members=1, steps=80), write=WriteConfig(codec="ffv1"))


def pictures(path: Path) -> torch.Tensor:
    return torch.cat([batch.rgb for batch in read_frames(probe(path), 50)])


@pytest.fixture(scope="module")
def dubbed(small_target, short_speech, shared_cache, tmp_path_factory):
    """A lossless dub: (output path, receipt facts, steps the hook heard of)."""
    out = tmp_path_factory.mktemp("out") / "new words.mkv"
    steps: list[str] = []
    receipt = dub(
        small_target, short_speech, out, QUICK, cache=shared_cache, hook=lambda step, done, total: steps.append(step)
    )
    return out, receipt.to_plain(), steps


def test_exactly_as_many_frames_as_the_speech_lasts(dubbed):
    out, facts, _ = dubbed
    stream = probe(out)
    assert len(stream) == round(Fraction(241, 100) * 25) == facts["output"]["frames"]
    assert abs(float(stream.clock.duration_s) - 2.41) <= 0.04
    assert abs(float(stream.audio_start_s)) < 0.005


def test_nothing_but_the_output_and_its_receipt_is_left(dubbed):
    out, facts, steps = dubbed
    assert sorted(p.name for p in out.parent.iterdir()) == ["new words.mkv", "new words.mkv.json"]
    assert json.loads((out.parent / "new words.mkv.json").read_text()) == facts
    assert "dub" in steps  # the rest may be in the shared cache already


def test_the_receipt_says_what_was_made_and_how(dubbed):
    _, facts, _ = dubbed
    assert facts["config"]["lips"]["steps"] == 80 and facts["made_by"]["torch"]
    assert len(facts["inputs"]["target"]["sha256"]) == 64 and len(facts["plan"]["source"]) == facts["output"]["frames"]
    assert (
        0 < facts["speakers"][0]["lips"]["lmd"] < 0.1
        and facts["rendered_share"] == 1.0
        and facts["passed_through"] == []
    )
    speaker = facts["speakers"][0]
    assert len(speaker["opening"]) == facts["output"]["frames"] and None not in speaker["opening"]
    rows = [(round(a * 25), round(b * 25)) for a, b in speaker["closures"]]
    assert rows and all(max(speaker["opening"][a:b]) < speaker["closed_gap"] for a, b in rows)


def test_the_receipt_fits_its_published_schema(dubbed):
    _, facts, _ = dubbed
    schema = json.loads((ROOT / "docs" / "schemas" / "receipt-1.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(facts)), schema)
    assert set(facts) == set(schema["properties"])


def test_the_file_itself_says_that_it_is_ai_edited(dubbed):
    import av

    with av.open(str(dubbed[0])) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
    assert "AI-edited" in tags["comment"] and dubbed[1]["inputs"]["target"]["sha256"] in tags["comment"]


def test_only_the_lower_face_changes(dubbed, small_target):
    out, facts, _ = dubbed
    plan = facts["plan"]
    whole = np.flatnonzero(~np.array(plan["half"], bool))
    target = pictures(small_target)[np.array(plan["source"])[whole]]
    changed = (pictures(out)[whole] != target).any(1)
    assert changed.any((1, 2)).all(), "every frame has a new mouth"
    rows = changed.any(0).any(1).nonzero()[:, 0]
    columns = changed.any(0).any(0).nonzero()[:, 0]
    assert changed.float().mean() < 0.08 and len(columns) < 150 and len(rows) < 110, "and everything else is as decoded"


def test_the_same_dub_twice_is_the_same(dubbed, small_target, short_speech, shared_cache, tmp_path):
    again = dub(small_target, short_speech, tmp_path / "again.mkv", replace(QUICK, batch=5), cache=shared_cache)
    assert again.to_plain()["plan"] == dubbed[1]["plan"]
    difference = (pictures(tmp_path / "again.mkv").int() - pictures(dubbed[0]).int()).abs()
    assert difference.max() <= 2, "rows do not depend on the batch they are rendered in"


def test_preview_without_retiming_plays_the_target_from_its_start(small_target, short_speech, shared_cache, tmp_path):
    config = replace(QUICK, retime=RetimeConfig(timeline="keep", length="speech"))
    facts = dub(small_target, short_speech, tmp_path / "p.mkv", config, cache=shared_cache, preview_s=0.6).to_plain()
    assert facts["plan"]["source"] == list(range(15)) and len(probe(tmp_path / "p.mkv")) == 15


def test_only_a_part_is_dubbed_and_the_rest_is_the_target(small_target, short_speech, shared_cache, tmp_path):
    frames, part = pictures(small_target), Segment(Fraction(1), Fraction(2))
    out = tmp_path / "part.mkv"
    receipt = dub(small_target, short_speech, out, QUICK, cache=shared_cache, segments=[part])
    drawn = pictures(out)
    changed = (drawn != frames).flatten(1).any(1)
    assert len(drawn) == len(frames) and not changed[:25].any() and not changed[50:].any() and changed[26:49].all()
    assert receipt.speakers[0].spans == [[1.0, 2.0]] and receipt.retiming.timeline == "keep"
    assert receipt.rendered_share == 1.0 and receipt.passed_through == []
    assert probe(out).clock.seconds.tolist() == probe(small_target).clock.seconds.tolist()


@pytest.mark.slow
def test_a_part_of_an_h264_film_is_spliced_into_it(dubbed, small_target, short_speech, shared_cache, tmp_path):
    """The whole way: packets outside are the film's own, frames inside have new mouths, at the film's times."""
    film, out = tmp_path / "film.mp4", tmp_path / "part.mp4"
    params = {"x264-params": "keyint=24:min-keyint=24:scenecut=0:bframes=2"}
    with av.open(str(film), "w") as written:
        track: Any = written.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "12", **params})
        track.width, track.height, track.pix_fmt = 480, 270, "yuv420p"
        for i, rgb in enumerate(pictures(small_target)[:125].permute(0, 2, 3, 1).numpy()):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            written.mux(track.encode(frame))
        written.mux(track.encode(None))
    trained = next(shared_cache.folder.glob("lips/*/model.safetensors"))
    config = DubConfig(lips=LipsConfig(model=str(trained)))
    receipt = dub(film, short_speech, out, config, cache=shared_cache, span=("0:02", 4.5))
    told = next(note for note in receipt.notes if "re-encoded" in note)
    assert told.endswith("-4.80 s; the rest of the picture was copied") and receipt.speakers[0].spans == [[2.0, 4.52]]
    before, after = pictures(film), pictures(out)
    changed = (before != after).flatten(1).any(1)
    assert not changed[:48].any() and not changed[120:].any() and changed[50:110].all()
    mouth = (before[50:110].int() - after[50:110].int()).abs().amax((0, 1)) > 24
    assert mouth.any() and mouth.float().mean() < 0.08, "inside, only the mouth is new"
    assert probe(out).clock.seconds.tolist() == probe(film).clock.seconds.tolist()


def test_a_span_and_what_it_lacks(small_target, short_speech, tmp_path):
    out = tmp_path / "out.mp4"
    with pytest.raises(LipsyncError, match="not both"):
        dub(small_target, short_speech, out, segments=[Segment(Fraction(1), Fraction(2))], span=(1, 2))
    with pytest.raises(LipsyncError, match="nothing to say"):
        dub(small_target, None, out, span=(1, 2))
    with pytest.raises(LipsyncError, match="lasts from 0 to 10.00 s"):
        dub(small_target, short_speech, out, span=("9", "1:12"))


def test_a_part_says_its_own_recording_in_the_targets_own_sound(small_target, short_speech, shared_cache, tmp_path):
    part = Segment(Fraction(4), Fraction("6.5"), speech=short_speech, place="s.csv line 2")
    out = tmp_path / "part.mkv"
    receipt = dub(small_target, None, out, QUICK, cache=shared_cache, segments=[part])
    (heard, rate), (own, _), (said, _) = (heard_in(path, 10) for path in (out, small_target, short_speech))
    inside, edge = slice(4 * rate, 4 * rate + round(2.41 * rate)), rate // 50
    assert np.abs(heard[:, : inside.start] - own[:, : inside.start]).max() < 1e-4
    assert np.abs(heard[:, round(6.5 * rate) :] - own[:, round(6.5 * rate) :]).max() < 1e-4
    new = said[:, : inside.stop - inside.start]
    assert np.abs(heard[:, inside] - new)[:, edge:-edge].max() < 1e-4 and np.abs(new).max() > 0.1
    assert receipt.inputs.segments[0].speech.path == short_speech.name and receipt.output.speech == "encoded"


def test_frames_without_a_face_pass_through_bit_for_bit(small_target, short_speech, shared_cache, tmp_path):
    from video.write import VideoWriter

    stream = probe(small_target)
    frames = pictures(small_target)
    frames[20:26] = 17
    broken = tmp_path / "broken.mkv"
    with VideoWriter(broken, width=480, height=270, clock=stream.clock, codec="ffv1", speech=small_target) as writer:
        writer.write(frames)
    config = replace(QUICK, retime=RetimeConfig(timeline="keep", length="speech"))
    facts = dub(broken, short_speech, tmp_path / "out.mkv", config, cache=shared_cache).to_plain()
    out = pictures(tmp_path / "out.mkv")
    assert (out[20:26] == 17).all() and (out[10] != frames[10]).any() and (out[40] != frames[40]).any()
    assert any(
        span["reason"] == "no face" and span["from_row"] <= 20 and span["to_row"] >= 25
        for span in facts["passed_through"]
    )


def test_silence_closes_the_mouth(small_target, shared_cache, tmp_path):
    import soundfile

    from lipsync.config.schema import FaceConfig
    from lipsync.core.lips import opening
    from lipsync.face.track import FaceTracker

    soundfile.write(tmp_path / "silence.wav", np.zeros(24000), 16000)
    dub(small_target, tmp_path / "silence.wav", tmp_path / "out.mkv", QUICK, cache=shared_cache)
    stream = probe(tmp_path / "out.mkv")
    tracker = FaceTracker(FaceConfig(), 480, 270)
    for rgb in pictures(tmp_path / "out.mkv").permute(0, 2, 3, 1).numpy():
        tracker.push(rgb)
    gaps = opening(tracker.finish(stream.clock).lips.points)
    assert gaps.std() < 0.01 and gaps.max() < 0.05


def test_an_interrupt_leaves_nothing_behind(small_target, short_speech, shared_cache, tmp_path):
    def stop(step, done, total):
        if step == "dub":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dub(small_target, short_speech, tmp_path / "out.mp4", QUICK, cache=shared_cache, hook=stop)
    assert list(tmp_path.iterdir()) == []


def in_ranges():
    """Output in ranges of 24 rows."""
    return replace(QUICK, write=replace(QUICK.write, range_s=1.0))


def test_a_dub_in_ranges_shows_the_same_pictures_and_goes_on_after_a_stop(
    dubbed, small_target, short_speech, shared_cache, tmp_path, monkeypatch
):
    out, begun = tmp_path / "out.mkv", []
    monkeypatch.setattr(Dub, "content_id", dubbed[1]["id"][:ID_DIGITS])  # options are part of it: the mark would differ

    def stop(step, done, total):
        if step == "dub":
            begun.append(done)
            if done > 30:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dub(small_target, short_speech, out, in_ranges(), cache=shared_cache, hook=stop)
    assert list(tmp_path.iterdir()) == [] and begun[0] == 8
    assert [e.label for e in shared_cache.entries() if e.step == "ranges"] == ["out.mkv"]
    begun.clear()
    facts = dub(
        small_target,
        short_speech,
        out,
        in_ranges(),
        cache=shared_cache,
        hook=lambda step, done, total: begun.append((step, done)),
    ).to_plain()
    assert next(done for step, done in begun if step == "dub") == 24 + 8
    assert torch.equal(pictures(out), pictures(dubbed[0])) and facts["output"]["sha256"] == content_hash(out)
    assert not [e for e in shared_cache.entries() if e.step == "ranges"] and facts["id"] != dubbed[1]["id"]


def test_a_prepared_target_says_several_speeches(dubbed, small_target, short_speech, shared_cache, tmp_path):
    steps = []
    ready = prepare(small_target, QUICK, cache=shared_cache)
    facts = dub(
        small_target,
        short_speech,
        tmp_path / "a.mkv",
        QUICK,
        cache=shared_cache,
        hook=lambda step, *_: steps.append(step),
        prepared=ready,
    ).to_plain()
    assert torch.equal(pictures(tmp_path / "a.mkv"), pictures(dubbed[0])) and set(steps) == {"dub"}
    assert facts["id"] == dubbed[1]["id"]


def test_lips_are_learnt_beside_the_mouths_and_are_the_same(small_target, shared_cache, tmp_path, monkeypatch):
    config = replace(QUICK, lips=LipsConfig(members=2, steps=6))
    models = []
    for threads, cache in ((0, Cache(tmp_path)), (2, shared_cache)):
        shutil.copytree(shared_cache.folder / "track", tmp_path / "track", dirs_exist_ok=True)
        for module in (dub_page, lips):
            monkeypatch.setattr(module, "learning_threads", lambda *_, n=threads: n)
        seen = []
        models.append(
            prepare(small_target, config, cache=cache, hook=lambda *at: seen.append((current_thread(), *at))).model
        )
        assert {thread for thread, *_ in seen} <= {main_thread()}
        assert [step for _, step, *_ in seen][-1] == "lips"
    for a, b in zip(models[0].nets, models[1].nets, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_targets_sound_is_decoded_once_for_all_speeches(
    dubbed, small_target, short_speech, shared_cache, tmp_path, monkeypatch
):
    def never(path, limits):
        raise AssertionError(f"{path} was decoded again")

    for module in ("target.rest", "learning.lip_examples", "learning.textures"):
        monkeypatch.setattr(f"lipsync.{module}.load_track", never)
    ready = prepare(small_target, QUICK, cache=shared_cache)
    dub(small_target, short_speech, tmp_path / "a.mkv", QUICK, preview_s=0.2, cache=shared_cache, prepared=ready)


def test_the_id_counts_footage_that_was_of_no_use(dubbed, small_target, short_speech, shared_cache, tmp_path):
    dark = tmp_path / "dark.mkv"
    with VideoWriter(dark, width=96, height=64, clock=FrameClock.constant(10, Fraction(25)), codec="ffv1") as writer:
        writer.write(torch.zeros((10, 3, 64, 96), dtype=torch.uint8))
    facts = dub(
        small_target, short_speech, tmp_path / "a.mkv", QUICK, footage=(dark,), preview_s=0.2, cache=shared_cache
    ).to_plain()
    assert any("of no use" in note for note in facts["notes"])
    assert facts["id"] == fingerprint(
        content_hash(small_target), content_hash(short_speech), [content_hash(dark)], QUICK, 0.2
    )


def test_the_id_follows_contents_options_and_weights_only(tmp_path):
    config = QUICK
    one = fingerprint("a", "b", ["c"], config)
    assert one == fingerprint(
        "a", "b", ["c"], replace(config, device="cpu", batch=3, cache=replace(config.cache, folder="elsewhere"))
    )
    weights = tmp_path / "w.safetensors"
    ids = {one}
    for text in ("x", "y"):
        weights.write_text(text)
        ids.add(fingerprint("a", "b", ["c"], replace(config, lips=replace(config.lips, model=str(weights)))))
    ids |= {
        fingerprint("A", "b", ["c"], config),
        fingerprint("a", "B", ["c"], config),
        fingerprint("a", "b", [], config),
        fingerprint("a", "b", ["c"], config, 2.0),
    }
    ids |= {fingerprint("a", "b", ["c"], replace(config, write=replace(config.write, crf=13)))}
    assert len(ids) == 8
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert fingerprint("a", "b", ["c"], replace(config, lips=replace(config.lips, model=str(moved)))) in ids


def test_an_existing_file_is_kept_unless_forced(small_target, short_speech, shared_cache, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_text("precious")
    with pytest.raises(LipsyncError, match="--force"):
        dub(small_target, short_speech, out, QUICK, cache=shared_cache)
    assert out.read_text() == "precious"


def test_cut_ends_sound_and_picture_with_the_target(dubbed, small_target, short_speech, shared_cache, tmp_path):
    from audio.load import load_speech
    from video.clock import FrameClock
    from video.write import VideoWriter

    short = tmp_path / "one second.mkv"
    with VideoWriter(short, width=480, height=270, clock=FrameClock.constant(25, Fraction(25)), codec="ffv1") as writer:
        writer.write(pictures(small_target)[:25])
    trained = next(shared_cache.folder.glob("lips/*/model.safetensors"))
    config = replace(QUICK, lips=LipsConfig(model=str(trained)), retime=RetimeConfig(length="cut"))
    facts = dub(short, short_speech, tmp_path / "out.mkv", config, cache=shared_cache).to_plain()
    assert facts["plan"]["source"] == list(range(25)) and len(probe(tmp_path / "out.mkv")) == 25
    assert abs(float(load_speech(tmp_path / "out.mkv").duration_s) - 1) <= 0.041


def test_a_device_that_is_not_there():
    with pytest.raises(LipsyncError, match="cuda:97"):
        pick_device("cuda:97")


def test_the_loops_that_are_compiled_ahead_are_called_as_they_are(dubbed):
    for module, name, types in LOOPS:
        assert arguments_of(types) in getattr(import_module(module), name).signatures, name
