"""How the output of a dub is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lipsync.config.schema import DubConfig, LimitsConfig
from lipsync.pipelines import output
from lipsync.pipelines.sound import DubSound


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
        sound=DubSound(),
        heard=(Path("a.wav"), []),
        audio_end_s=2,
        out=Path("b.mp4"),
        is_long=is_long,
        rows_of_range=8,
    )
    opened = []
    monkeypatch.setattr(output, writer, lambda *_, **options: opened.append(options))
    monkeypatch.setattr(output, "_ranges_folder", lambda *_: Path("ranges"))
    output.open_writer(dub, None)
    assert opened[0]["limits"] == config.input_limits and opened[0]["limits"].megapixels == 60
