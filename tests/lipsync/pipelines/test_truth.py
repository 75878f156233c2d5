"""What a dub says of itself: a target of variable rate, without sound, whose second half shows nobody."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig, LipsConfig, RetimeConfig, WriteConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.segments import Segment
from lipsync.pipelines.dub import dub
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter

QUICK = DubConfig(lips=LipsConfig(members=1, steps=80), write=WriteConfig(codec="ffv1"))
NOBODY = Segment(Fraction(22, 10), Fraction(27, 10))


@pytest.fixture(scope="module")
def target(small_target, tmp_path_factory):
    """30 frames of the presenter, 25 a second, the 16th held for a second, and 15 black ones: 2.76 s."""
    frames = next(iter(read_frames(probe(small_target), 30, stop=30))).rgb
    path, pts = tmp_path_factory.mktemp("vfr") / "hold.mkv", np.arange(45, dtype=np.int64)
    pts[16:] += 24
    with VideoWriter(path, width=480, height=270, clock=FrameClock(pts, Fraction(1, 25), 69), codec="ffv1") as writer:
        writer.write(frames)
        writer.write(torch.zeros((15, *frames.shape[1:]), dtype=torch.uint8))
    return path


def tags(path):
    with av.open(str(path)) as container:
        return {name.lower(): value for name, value in container.metadata.items()}


def test_a_kept_target_keeps_its_own_stamps(target, short_speech, shared_cache, tmp_path):
    config, out = replace(QUICK, retime=RetimeConfig(timeline="keep")), tmp_path / "kept.mkv"
    receipt = dub(target, short_speech, out, config, cache=shared_cache)
    made, own = probe(out).clock, probe(target).clock
    assert len(made) == 45 and np.abs(made.seconds - own.seconds).max() < 0.0011
    assert receipt.output.rate == "25" and receipt.output.duration_s == pytest.approx(2.76, abs=0.002)
    assert receipt.changed == [[0.0, pytest.approx(2.16, abs=0.002)]] and receipt.rendered_share == pytest.approx(2 / 3)
    first, picture, *_ = receipt.summary()
    assert "67 % dubbed" in first and picture == "Picture: the target's own time."
    assert any("no sound track" in note for note in receipt.notes) and not any("0.0 s" in n for n in receipt.notes)
    assert "AI-edited" in tags(out)["comment"] and "at 0.00-2.16 s." in tags(out)["comment"]


def test_a_retimed_target_plays_at_its_usual_rate(target, short_speech, shared_cache, tmp_path):
    config, out = replace(QUICK, retime=RetimeConfig(timeline="retime")), tmp_path / "retimed.mkv"
    receipt = dub(target, short_speech, out, config, cache=shared_cache, preview_s=0.4)
    assert receipt.output.frames == 10 and (np.diff(probe(out).clock.seconds) < 0.042).all()
    assert "--timeline keep plays it from its start" in receipt.summary()[1]


def test_nothing_dubbed_is_a_failure_unless_it_is_allowed(target, short_speech, shared_cache, tmp_path):
    out = tmp_path / "none.mkv"
    with pytest.raises(LipsyncError, match="none can be: no face .*--allow-undubbed"):
        dub(target, short_speech, out, QUICK, segments=[NOBODY], cache=shared_cache)
    assert list(tmp_path.iterdir()) == []
    allowed = replace(QUICK, allow_undubbed=True)
    receipt = dub(target, short_speech, out, allowed, segments=[NOBODY], cache=shared_cache)
    assert receipt.rendered_share == 0 and receipt.ai_edited == "" and receipt.changed == []
    assert ", 0 % dubbed," in receipt.summary()[0]
    assert "AI-edited" not in str(tags(out)) and "digital_source_type" not in tags(out)
