"""How the output of a dub is opened."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, LimitsConfig, MarkConfig, WriteConfig
from lipsync.core.types import DubPlan, LipTrack
from lipsync.pipelines import output
from lipsync.pipelines.sound import DubSound
from tests.support.rich_clips import CHAPTERS, rich_clip
from tests.support.video_clips import click_file, pictures
from video.carry import Carry
from video.clock import FrameClock
from video.extras import Extras, extras_of
from video.probe import probe


def dub_of(stream, plan, config, timeline="keep", speech=None, **more) -> Any:
    """As much of a dub as `open_writer` asks for."""
    return SimpleNamespace(
        subject=SimpleNamespace(
            films=[SimpleNamespace(stream=stream)], video=SimpleNamespace(path=stream.path, sha256="0a")
        ),
        plan=plan,
        speakers=[SimpleNamespace(said=SimpleNamespace(length_s=Fraction(2), waves={}), plan=plan)],
        drawn=[(plan, None)],
        config=config,
        heard=(speech, []),
        audio_end_s=Fraction(2),
        content_id="0123456789abcdef",
        sound=DubSound(),
        script=SimpleNamespace(config=SimpleNamespace(retime=SimpleNamespace(timeline=timeline)), partly=False),
        **more,
    )


@pytest.mark.parametrize(("is_long", "writer"), [(False, "VideoWriter"), (True, "RangedWriter")])
def test_the_output_is_written_within_the_limits_of_the_job(is_long, writer, monkeypatch):
    config = replace(DubConfig(), limits=LimitsConfig(megapixels=60))
    stream = SimpleNamespace(path=Path("a.mp4"), width=64, height=48, colour=None, sample_aspect=None)
    plan = SimpleNamespace(clock=FrameClock.constant(50, Fraction(25)), render=np.ones(50, bool))
    dub = dub_of(stream, plan, config, speech=Path("a.wav"), out=Path("b.mp4"), is_long=is_long, rows_of_range=8)
    opened = []
    monkeypatch.setattr(output, writer, lambda *_, **options: opened.append(options))
    monkeypatch.setattr(output, "_ranges_folder", lambda *_: Path("ranges"))
    monkeypatch.setattr(output, "carry_of", lambda *_: Carry(Extras(Path("a.mp4"))))
    output.open_writer(dub, None)
    assert opened[0]["limits"] == config.input_limits and opened[0]["limits"].megapixels == 60


@pytest.mark.parametrize("timeline", ["keep", "retime"])
def test_the_output_holds_what_its_target_holds(tmp_path, timeline):
    stream, speech = probe(rich_clip(tmp_path / "t.mkv")), click_file(tmp_path / "s.wav", "pcm_s16le")
    clock, config = FrameClock.constant(50, Fraction(25)), replace(DubConfig(), write=WriteConfig(language="ita"))
    lips = LipTrack(np.zeros((50, 18, 2), np.float32), np.ones(50, bool), clock)
    plan = DubPlan(np.arange(50), np.zeros(50, bool), lips, np.ones(50, bool), clock, np.zeros(0, np.int64))
    dub = dub_of(stream, plan, config, timeline, speech=speech, out=tmp_path / "o.mp4", is_long=False)
    with output.open_writer(dub, None) as writer:
        writer.write(pictures(50))
    got = extras_of(tmp_path / "o.mp4")
    assert got.tags["AIGC"] == '{"Label":"1"}' and got.tags["artist"] == "Nobody" and len(got.covers) == 1
    assert got.tags["title"].startswith("My film (AI-edited") and got.tags["comment"].endswith("a test")
    assert got.sound is not None and got.sound.language == "ita"
    assert [one.tags["title"] for one in got.chapters] == [name for name, _, _ in CHAPTERS if timeline == "keep"]
    assert len(got.tracks) == (2 if timeline == "keep" else 0)
    assert ("--timeline keep" in " ".join(writer.facts.notes)) == (timeline == "retime")


@pytest.mark.parametrize(
    "write,whole,codec,spliced,said",
    [
        ({}, False, "h264", True, False),
        ({}, False, "hevc", True, False),
        ({}, True, "h264", False, False),
        ({"smart_cut": False}, False, "h264", False, False),
        ({"codec": "ffv1"}, False, "h264", False, False),
        ({"codec": "libx265"}, False, "hevc", True, False),
        ({"codec": "libx265"}, False, "h264", False, False),
        ({}, False, "vp9", False, True),
    ],
)
def test_parts_are_spliced_unless_another_codec_was_asked_for(write, whole, codec, spliced, said, monkeypatch):
    stream = SimpleNamespace(codec=codec)
    plans = []

    def plan_splice(stream, touched, suffix):
        if stream.codec == "vp9":
            raise output.CannotSplice("its codec is vp9")
        plans.append((touched.tolist(), suffix))
        return "plan"

    monkeypatch.setattr(output, "plan_splice", plan_splice)
    people = [SimpleNamespace(faces=SimpleNamespace(strength=np.array(s))) for s in ([0, 0.2, 0, 0], [0, 0, 0, 1])]
    dub = SimpleNamespace(
        script=SimpleNamespace(partly=not whole),
        config=replace(DubConfig(), write=WriteConfig(**write)),
        subject=SimpleNamespace(films=[SimpleNamespace(stream=stream)]),
        drawn=[(None, one.faces) for one in people],
        out=Path("b.MP4"),
        labelled=np.zeros(4, bool),
    )
    plan, notes = output._splice_of(dub)
    assert (plan is not None) == spliced and plans == [([False, True, False, True], ".mp4")] * spliced
    assert bool(notes) == said


def test_whoever_rests_is_drawn_too():
    """What is copied, and what the label says, know of listeners whose lips are drawn while a speaker's cannot be."""
    plan, other = SimpleNamespace(render=np.zeros(4, bool)), SimpleNamespace(render=np.ones(4, bool))
    speaker = SimpleNamespace(plan=plan, faces="one")
    resting = {1: SimpleNamespace(plan=other, scene=SimpleNamespace(faces="two"))}
    made = output.Dub(*[cast(Any, None)] * 4, cast(Any, (speaker,)), cast(Any, resting))
    assert made.drawn == [(plan, "one"), (other, "two")]


def test_the_manifest_names_every_file_that_was_used_and_how(tmp_path):
    names = ("target.mp4", "said.wav", "mix.wav", "more.mp4", "actor.mp4", "fitted.wav")
    files = {name: tmp_path / name for name in names}
    for name, path in files.items():
        path.write_bytes(name.encode())
    plan = SimpleNamespace(clock=FrameClock.constant(4, Fraction(4)), render=np.array([0, 1, 1, 0], bool))
    fitted = {files["fitted.wav"]: (files["said.wav"], Fraction(1))}
    dub: Any = SimpleNamespace(
        asked=SimpleNamespace(target=files["target.mp4"], footage=(files["more.mp4"],), lips_from=files["actor.mp4"]),
        sound=DubSound(mix=files["mix.wav"], background="original", fitted=fitted),
        speakers=[SimpleNamespace(said=SimpleNamespace(waves={files["fitted.wav"]: None}))],
        out=tmp_path / "dub.mp4",
        fingerprint="1dea",
        content_id="0123456789abcdef",
        drawn=[(plan, None)],
        config=replace(DubConfig(), mark=MarkConfig(consent="Ann agreed")),
    )
    edit = output.edit_of(dub)
    assert [(one.path.name, one.relationship) for one in edit.ingredients] == [
        ("target.mp4", "parentOf"),
        ("said.wav", "componentOf"),
        ("mix.wav", "componentOf"),
        ("actor.mp4", "inputTo"),
        ("more.mp4", "inputTo"),
    ]
    assert edit.spans == [[0.25, 0.75]] and edit.consent == {"text": "Ann agreed"} and edit.title == "dub.mp4"


@pytest.mark.parametrize("enabled", [True, False])
def test_tags_say_it_unless_marks_are_turned_off(enabled, tmp_path):
    stream = SimpleNamespace(path=Path("a.mp4"))
    plan = SimpleNamespace(clock=FrameClock.constant(4, Fraction(4)), render=np.ones(4, bool))
    mark = MarkConfig(aigc="Me") if enabled else MarkConfig(enabled=False)
    tags = output._metadata(dub_of(stream, plan, replace(DubConfig(), mark=mark), fingerprint="77"))
    assert set(tags) == ({"title", "comment", "digital_source_type", "AIGC"} if enabled else set())
    assert not enabled or '"ProduceID":"77"' in tags["AIGC"]
