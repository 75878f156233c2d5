"""How the output of a dub is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, LimitsConfig, WriteConfig
from lipsync.pipelines import output


@pytest.mark.parametrize(("is_long", "writer"), [(False, "VideoWriter"), (True, "RangedWriter")])
def test_the_output_is_written_within_the_limits_of_the_job(is_long, writer, monkeypatch):
    config = replace(DubConfig(), limits=LimitsConfig(megapixels=60))
    stream = SimpleNamespace(width=64, height=48, colour=None, sample_aspect=None)
    video = SimpleNamespace(path=Path("a.mp4"), sha256="0a")
    dub = SimpleNamespace(
        subject=SimpleNamespace(films=[SimpleNamespace(stream=stream)], video=video),
        plan=SimpleNamespace(clock=SimpleNamespace(duration_s=2, rate=25)),
        speakers=[SimpleNamespace(said=SimpleNamespace(length_s=2, waves={}))],
        config=config,
        script=SimpleNamespace(segments=None),
        speech=Path("a.wav"),
        out=Path("b.mp4"),
        is_long=is_long,
        rows_of_range=8,
    )
    opened = []
    monkeypatch.setattr(output, writer, lambda *_, **options: opened.append(options))
    monkeypatch.setattr(output, "_ranges_folder", lambda *_: Path("ranges"))
    output.open_writer(dub, None)
    assert opened[0]["limits"] == config.input_limits and opened[0]["limits"].megapixels == 60


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
        script=SimpleNamespace(segments=(1,), whole=whole),
        config=replace(DubConfig(), write=WriteConfig(**write)),
        subject=SimpleNamespace(films=[SimpleNamespace(stream=stream)]),
        speakers=people,
        out=Path("b.MP4"),
    )
    plan, notes = output._splice_of(dub)
    assert (plan is not None) == spliced and plans == [([False, True, False, True], ".mp4")] * spliced
    assert bool(notes) == said
