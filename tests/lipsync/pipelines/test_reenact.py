"""Lips from a video: the presenter performs for himself."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, LipsConfig, WriteConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.lips import opening
from lipsync.core.segments import Segment
from lipsync.metrics.lips import opening_r
from lipsync.pipelines.dub import dub
from lipsync.pipelines.reenact import follow_performance, performed
from lipsync.pipelines.script import Script
from lipsync.target.analyse import analyse
from lipsync.target.rest import resting_lips
from video.clock import FrameClock

QUICK = DubConfig(lips=LipsConfig(members=1, steps=80), write=WriteConfig(codec="ffv1"))


def test_his_own_performance_is_his_own_lips(small_target, shared_cache):
    subject = analyse(small_target, QUICK, shared_cache)
    actor = follow_performance(small_target, small_target, QUICK, shared_cache, lambda *_: None)
    rest = resting_lips(subject.films[0], shared_cache)
    whole = (Segment(Fraction(0), Fraction(10)),)
    script = Script(small_target, whole, True, subject.video.clock, QUICK)
    said = performed(actor, subject, rest, script, shared_cache, embed=False)
    own = subject.track.lips.points
    assert np.abs(said.lips.points - own).max() < 1e-3 and said.notes == () and said.voiced.any()
    # the sound begins 0.2 s after the picture: what was seen then is shown first
    late = performed(replace(actor, starts_s=0.2), subject, rest, script, shared_cache, embed=False)
    shown, seen = late.lips.points[:-10], own[5:-5]
    assert np.abs(shown - seen).max() < 0.02 and opening_r(opening(shown), opening(seen)) > 0.99
    # twice as many frames a second, on a clock of its own
    faster = replace(script, segments=None, clock=FrameClock.constant(500, Fraction(50)))
    twice = performed(actor, subject, rest, faster, shared_cache, embed=False)
    assert len(twice.lips) == 500 and np.abs(twice.lips.points[::2] - own).max() < 1e-3


def test_a_dub_from_a_film_says_whose_lips_it_shows(small_target, short_speech, shared_cache, tmp_path):
    name = os.fsdecode(b"act\xfcr.mkv")
    shutil.copy(small_target, tmp_path / name)
    out = tmp_path / os.fsdecode(b"gr\xfc\xdfe.mkv")
    receipt = dub(small_target, None, out, QUICK, lips_from=tmp_path / name, cache=shared_cache, preview_s=0.6)
    assert out.exists() and receipt.inputs.lips_from.sha256 == receipt.inputs.target.sha256
    assert receipt.retiming.timeline == "keep" and receipt.output.speech != "none"
    assert receipt.changed == [[0.0, 0.6]] and "0.00-0.60 s" in receipt.ai_edited
    written = (tmp_path / f"{out.name}.json").read_bytes().decode("utf-8")
    assert "act\\\\xfcr.mkv" in written and "gr\\\\xfc\\\\xdfe.mkv" in written
    summary = "\n".join(receipt.summary())
    assert "100 % dubbed" in summary and "Lips from the film of --lips-from" in summary
    assert "Picture: the first 0.6 s of the target" in summary


def test_what_cannot_be_is_refused(small_target, short_speech, shared_cache, tmp_path):
    with pytest.raises(LipsyncError, match="film of --lips-from .* does not exist"):
        dub(small_target, None, tmp_path / "a.mkv", QUICK, lips_from=tmp_path / "none.mkv", cache=shared_cache)
    with pytest.raises(UsageError, match="leave out --from, --to and --segments"):
        part = [Segment(Fraction(0), Fraction(1))]
        dub(small_target, short_speech, tmp_path / "a.mkv", QUICK, lips_from=small_target, segments=part)
    with pytest.raises(UsageError, match="Name a SPEECH"):
        dub(small_target, None, tmp_path / "a.mkv", QUICK)
