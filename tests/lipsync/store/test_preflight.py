"""What is checked before any work, and that it is checked once."""

from dataclasses import replace

import pytest

from lipsync.config.schema import WriteConfig
from lipsync.store import preflight
from media import MediaError
from video import write


def test_an_encoder_is_tried_once(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "_ENCODER_WORKS", set())
    opened, writer = [], write.VideoWriter
    monkeypatch.setattr(
        write, "VideoWriter", lambda path, **options: opened.append(path.suffix) or writer(path, **options)
    )
    for name in ("a.mp4", "b.mp4", "c.mkv"):
        preflight.check_encoder(tmp_path / name, WriteConfig())
    preflight.check_encoder(tmp_path / "d.mp4", replace(WriteConfig(), crf=20))
    assert opened == [".mp4", ".mkv", ".mp4"]


def test_an_encoder_that_fails_is_refused_every_time(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(MediaError, match="nosuchcodec"):
            preflight.check_encoder(tmp_path / name, WriteConfig(codec="nosuchcodec"))
