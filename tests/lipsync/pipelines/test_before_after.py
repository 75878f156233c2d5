"""Original above dub, frame against frame: every picture's level says which frame it is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch

from audio.load import load_track
from lipsync.core.errors import LipsyncError
from lipsync.pipelines import before_after
from lipsync.pipelines.before_after import write_before_after
from lipsync.store.receipt import InputFile, Inputs, PlannedRows, Receipt
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter


def film(path, levels, sound=None):
    """Grey frames of 96x64 at 25 a second."""
    clock = FrameClock.constant(len(levels), Fraction(25))
    with VideoWriter(path, width=96, height=64, clock=clock, codec="ffv1", speech=sound) as writer:
        for level in levels:
            writer.write(torch.full((1, 3, 64, 96), level, dtype=torch.uint8))
    return path


def levels(path):
    """(T,2): the level of the upper and the lower half of every frame."""
    return np.concatenate(
        [batch.rgb.float().unflatten(2, (2, -1)).mean((1, 3, 4)).numpy() for batch in read_frames(probe(path))]
    )


def dubbed(tmp_path, source, changed, n=100):
    """A target of n frames, and a dub of it that shows `source`; the sound is a step after each second."""
    target = film(tmp_path / "target.mkv", [20 + 2 * k for k in range(n)])
    rate = 16_000
    wave = np.repeat(0.1 * np.arange(1, 1 + -(-len(source) // 25)), rate) * np.sin(
        np.arange(-(-len(source) // 25) * rate)
    )
    soundfile.write(tmp_path / "speech.wav", wave, rate)
    out = film(tmp_path / "dub.mkv", [230 - k for k in range(len(source))], tmp_path / "speech.wav")
    receipt = Receipt(
        inputs=Inputs(target=InputFile(str(target))),
        plan=PlannedRows(list(source), [0] * len(source)),
        changed=changed,
    )
    receipt.save(tmp_path / "dub.mkv.json")
    return out


def test_each_frame_stands_above_what_became_of_it(tmp_path):
    source = [5, 6, 7, 7, 60, 61, 40]
    out = dubbed(tmp_path, source, [[0.0, 0.28]])
    made = write_before_after(out, tmp_path / "view.mp4")
    assert made["start_s"] == 0 and made["seconds"] == pytest.approx(0.28)
    found = levels(tmp_path / "view.mp4")
    assert found[:, 0] == pytest.approx([20 + 2 * k for k in source], abs=2)
    assert found[:, 1] == pytest.approx([230 - k for k in range(len(source))], abs=2)
    assert probe(tmp_path / "view.mp4").height == 128 and probe(tmp_path / "view.mp4").codec == "h264"


def test_a_long_film_is_shown_around_its_first_change(tmp_path, monkeypatch):
    monkeypatch.setattr(before_after, "LENGTH_S", 1.0)
    monkeypatch.setattr(before_after, "LEAD_S", 0.4)
    monkeypatch.setattr(before_after, "HEIGHT_PX", 32)
    out = dubbed(tmp_path, range(100), [[2.4, 3.0]])
    made = write_before_after(out, tmp_path / "view.mp4")
    assert made["start_s"] == pytest.approx(2.0) and made["seconds"] == pytest.approx(1.0)
    found = levels(tmp_path / "view.mp4")
    assert len(found) == 25 and found[0] == pytest.approx([120, 180], abs=2)
    assert probe(tmp_path / "view.mp4").width == 48 and probe(tmp_path / "view.mp4").height == 64
    sound = load_track(tmp_path / "view.mp4").samples.abs()
    assert float(sound[2000:14000].max()) == pytest.approx(0.3, abs=0.03)  # its third second


def test_without_its_receipt_or_its_target_it_says_so(tmp_path):
    out = dubbed(tmp_path, range(5), [])
    other = film(tmp_path / "other.mkv", [1, 2])
    with pytest.raises(LipsyncError, match="not what"):
        write_before_after(out, tmp_path / "view.mp4", target=other)
    (tmp_path / "dub.mkv.json").write_text("{}")
    with pytest.raises(LipsyncError, match="not the receipt"):
        write_before_after(out, tmp_path / "view.mp4")
    assert not (tmp_path / "view.mp4").exists()
