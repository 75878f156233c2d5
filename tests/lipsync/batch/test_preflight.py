"""The look before a batch: what each job's fault is, that costly looks are shared, and that nothing is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.duration import speech_length
from audio.load import load_speech
from lipsync.batch import estimate, preflight
from lipsync.batch.estimate import Scale, VideoFacts
from lipsync.batch.job import Checked, Job, JobRecord, Outcome
from lipsync.batch.pool import WorkerEvent
from lipsync.batch.preflight import check_jobs, room, summary, time_s
from lipsync.batch.probe import PICTURES, perform, spread_rows
from lipsync.config.schema import DubConfig, LimitsConfig, LipsConfig, RetimeConfig, WriteConfig
from lipsync.core.errors import LipsyncError
from lipsync.pipelines.estimate import FOLLOW_S
from lipsync.store.cache import Cache
from lipsync.store.preflight import receipt_path
from lipsync.target.analyse import follow_face
from media import MediaError
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter


def clip(path, frames, rate=25):
    with VideoWriter(
        path,
        width=frames.shape[3],
        height=frames.shape[2],
        clock=FrameClock.constant(len(frames), Fraction(rate)),
        codec="ffv1",
    ) as writer:
        writer.write(frames)
    return path


@pytest.fixture(scope="module")
def faceless(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("faceless") / "grey.mkv", torch.full((30, 3, 90, 160), 128, dtype=torch.uint8))


@pytest.fixture(scope="module")
def ten_frames(small_target, tmp_path_factory):
    return clip(tmp_path_factory.mktemp("short") / "ten.mkv", next(read_frames(probe(small_target), 10)).rgb)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def job(target, speech, out="out.mp4", line="jobs.csv, line 2", **options):
    return Job(str(target), str(speech), out, config=replace(DubConfig(), **options), line=line)


def checked_jobs(jobs, out_folder, cache, kept=(), **options):
    """What the preflight finds of each job; kept: numbers of those done already."""
    return [record.checked for record in checked_records(jobs, out_folder, cache, kept, **options)]


def checked_records(jobs, out_folder, cache, kept=(), **options):
    found = [JobRecord(job, outcome=Outcome(job, "kept") if n in kept else None) for n, job in enumerate(jobs)]
    check_jobs(found, out_folder, cache, **options)
    return found


def records_of(*checked, kept=0):
    """Records of jobs that were checked, and of some that were found done."""
    some = job("t.mp4", "s.wav")
    return [JobRecord(some, one) for one in checked] + [JobRecord(some, outcome=Outcome(some, "kept"))] * kept


class Here:
    """Probes in this process, counted; `broken` names kill the worker."""

    count = 1

    def __init__(self, broken=""):
        self.calls, self.broken = Counter(), broken

    def submit(self, worker, number, task):
        self.calls[task["probe"]] += 1
        if self.broken and self.broken in task["name"]:
            self.event = WorkerEvent(0, 0, "lost", {"reason": "Its worker ended by SIGSEGV."})
        else:
            self.event = WorkerEvent(0, 0, "ended", perform(task))

    def wait(self, timeout_s):
        return [self.event]

    def close(self, now):
        self.calls["close"] += 1


def test_a_good_job_is_measured_and_nothing_is_written(ten_frames, short_speech, tmp_path, cache):
    jobs = [
        job(ten_frames, short_speech, "a.mp4"),
        job(ten_frames, short_speech, "sub/b.mov", retime=RetimeConfig(length="cut")),
    ]
    first, second = checked_jobs(jobs, tmp_path / "out", cache)
    assert not first.fault and not first.warnings and (first.frames, first.duration_s) == (60, 2.4)
    assert (second.fault, second.frames) == ("", 10)
    assert (
        first.first_s > 10 * FOLLOW_S and first.cache_bytes > 10**5 and (second.first_s, second.cache_bytes) == (0, 0)
    )
    assert first.n_bytes > second.n_bytes > 0 and first.seconds > first.first_s
    assert sorted(tmp_path.iterdir()) == []


def test_an_analysis_in_the_cache_costs_nothing_more(ten_frames, short_speech, tmp_path, cache):
    follow_face(ten_frames, DubConfig(), cache)
    assert checked_jobs([job(ten_frames, short_speech)], tmp_path / "out", cache, workers=Here())[0].first_s == 0


def test_a_target_without_a_face_is_a_warning(faceless, short_speech, tmp_path, cache):
    records = checked_records([job(faceless, short_speech)], tmp_path, cache, workers=Here())
    found = records[0].checked
    assert not found.fault and "No face of at least 20 pixels" in found.warnings[0] and found.frames == 60
    assert any(line.startswith("Note: No face") for line in summary(records, 1, tmp_path, cache))


def test_what_cannot_be_done_is_said_with_its_line(ten_frames, faceless, short_speech, tmp_path, cache):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text.mp4").write_text("no video, but some words")
    (tmp_path / "out" / "folder.mp4").mkdir(parents=True)
    (tmp_path / "out" / "file").write_text("x")
    (tmp_path / "out" / "away").symlink_to(tmp_path)
    shutil.copy(short_speech, tmp_path / "out" / "speech.wav")
    shutil.copy(short_speech, tmp_path / "model.safetensors")
    good, speech = ten_frames, short_speech
    cases = [
        (job(tmp_path / "none.mp4", speech), "target video .* does not exist"),
        (job(tmp_path / "empty.mp4", speech), "is empty"),
        (job(tmp_path / "pipe", speech), "no file on a disk"),
        (job(tmp_path / "empty.mp4" / "x.mp4", speech), "does not exist"),
        (job(tmp_path / "dir", speech), "is a folder"),
        (job(tmp_path / "text.mp4", speech), "text.mp4"),
        (job(good, tmp_path / "text.mp4"), "not an audio or video file"),
        (job(good, faceless), "no audio track"),
        (job(speech, speech), "no picture"),
        (replace(job(good, speech), footage=(str(tmp_path / "text.mp4"),)), "text.mp4"),
        (job(good, speech, "x.xyz"), r"line 2: x\.xyz .*Use .mp4"),
        (job(good, speech, "x.mp4", write=WriteConfig(codec="libx999")), "no encoder 'libx999'"),
        (job(good, speech, "folder.mp4"), "is a folder"),
        (job(good, speech, "file/x.mp4"), "is no folder"),
        (job(good, speech, "away/x.mp4"), "through a link"),
        (job(good, tmp_path / "out" / "speech.wav", "speech.wav"), "is an input"),
        (job(good, speech, texture="vae"), "learn"),
        (job(good, speech, device="cuda:77"), "no device cuda:77"),
        (job(good, speech, lips=LipsConfig(model=str(tmp_path / "model.safetensors"))), "lip model"),
        (replace(job(good, speech), fault="jobs.csv, line 2: The target is missing."), "target is missing"),
    ]
    checked = checked_jobs([*(one for one, _ in cases), job(good, speech)], tmp_path / "out", cache, workers=Here())
    for (_, says), found in zip(cases, checked[:-1], strict=True):
        assert found.fault.startswith("jobs.csv, line 2: ") and found.frames == 0 and found.fault.isprintable()
        assert found.seconds == 0 and re.search(says, found.fault), (says, found.fault)
    assert not checked[-1].fault


def test_costly_probes_are_shared(ten_frames, faceless, short_speech, tmp_path, cache):
    here, jobs = Here(), [job((ten_frames, faceless)[i % 2], short_speech, f"{i}.mp4") for i in range(200)]
    assert not any(one.fault for one in checked_jobs(jobs, tmp_path, cache, workers=here))
    assert here.calls == {"video": 2, "eyes": 2, "speech": 1, "encoder": 1, "texture": 1, "device": 1, "close": 1}


def test_a_file_that_kills_its_reader_is_the_fault_of_its_jobs_only(
    ten_frames, faceless, short_speech, tmp_path, cache
):
    jobs = [job(faceless, short_speech), job(ten_frames, short_speech, "b.mp4"), job(faceless, short_speech, "c.mp4")]
    bad, good, also = checked_jobs(jobs, tmp_path, cache, workers=Here("grey.mkv"))
    assert (
        "grey.mkv cannot be looked at. Its worker ended by SIGSEGV." in bad.fault
        and bad.fault == also.fault
        and not good.fault
    )


@pytest.mark.slow
def test_a_real_reader_that_dies_is_replaced(ten_frames, short_speech, tmp_path, cache, monkeypatch):
    from lipsync.batch.pool import LocalWorkers

    class Killed(LocalWorkers):
        def submit(self, worker, number, task):
            super().submit(worker, number, task)
            if "doomed" in task["name"]:
                self._children[worker].process.kill()

    shutil.copy(ten_frames, tmp_path / "doomed.mkv")
    jobs = [
        job(ten_frames, short_speech),
        job(tmp_path / "doomed.mkv", short_speech, "b.mp4"),
        job(ten_frames, short_speech, "c.mov"),
    ]
    one, bad, two = checked_jobs(jobs, tmp_path / "out", cache, workers=Killed(1, work="lipsync.batch.probe:perform"))
    assert not one.fault and not two.fault and "was killed" in bad.fault


def test_a_probe_that_never_ends_is_given_up(ten_frames, short_speech, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(preflight, "_PROBE_S", 0.2)
    here = Here()
    here.wait = lambda timeout_s: time.sleep(0.1) or []
    checked = checked_jobs([job(ten_frames, short_speech)], tmp_path, cache, workers=here)
    assert "longer than" in checked[0].fault and here.calls["close"] > 1


def test_an_unforeseen_error_is_said(tmp_path):
    assert perform({"probe": "video", "name": "x", "config": {"write": 3}}) == {
        "fault": "'write' is a section, not an option: set write.KEY instead."
    }
    said = perform({"probe": "speech", "name": None, "config": {}})
    assert said["fault"].startswith("None cannot be used (TypeError")


def test_a_shallow_check_opens_nothing(short_speech, tmp_path, cache):
    (tmp_path / "text.mp4").write_text("no video")
    shallow = checked_jobs(
        [job(tmp_path / "text.mp4", short_speech), job(tmp_path / "none.mp4", short_speech)],
        tmp_path,
        cache,
        deep=False,
    )
    assert [bool(one.fault) for one in shallow] == [False, True]


def test_addresses_are_not_opened(short_speech, tmp_path, cache):
    jobs = [job("s3://bucket/a.mp4", short_speech), job("s3://bucket/a.mp4", "gs://bucket/b.wav", "b.mp4")]
    one, two = checked_jobs(jobs, "s3://bucket/out", cache, workers=Here())
    assert not one.fault and not two.fault and abs(one.duration_s - 2.41) < 1e-6 and two.duration_s == 0
    lines = summary(records_of(one, two), 2, "s3://key:secret@bucket/out", cache)
    assert any("2 jobs of unknown length" in line for line in lines) and not any("secret" in line for line in lines)


def test_large_material_is_refused_as_in_a_dub(ten_frames, short_speech, tmp_path, cache):
    jobs = [
        job(ten_frames, short_speech, limits=LimitsConfig(frames=5)),
        job(ten_frames, short_speech, "b.mp4", limits=LimitsConfig(hours=0.0001)),
        job(ten_frames, short_speech, "c.mp4"),
    ]
    many, long, good = checked_jobs(jobs, tmp_path, cache, workers=Here())
    assert "limits.frames" in many.fault and "limits.hours" in long.fault and not good.fault


def test_folders_of_no_use_end_the_check(tmp_path, cache):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LipsyncError, match=r"output folder .* is no folder"):
        checked_jobs([], tmp_path / "file" / "sub", cache)
    with pytest.raises(LipsyncError, match=r"cache folder .* is no folder"):
        checked_jobs([], tmp_path, Cache(tmp_path / "file"))


# Estimates

HD = VideoFacts(1280, 720, 1000, 25.0, 0.5)


def test_rows():
    assert estimate.rows_of(HD, 2.41, DubConfig()) == 60 and estimate.rows_of(HD, 0.001, DubConfig()) == 1
    held = replace(HD, rate=30.0, length_s=45.0)  # the mean of its clock is 22.2
    assert estimate.rows_of(held, 45.5, DubConfig()) == 1000 and estimate.rows_of(held, 40.0, DubConfig()) == 1200
    assert estimate.seconds_of(held, 1000, 45.5, DubConfig()) == 45.0
    assert estimate.seconds_of(held, 1200, 40.0, DubConfig()) == 40.0
    assert estimate.rows_of(HD, 100.0, DubConfig(retime=RetimeConfig(length="cut"))) == 1000


def test_room_follows_quality_and_size():
    small, coarse = VideoFacts(640, 360, 1000, 25.0, 0.5), DubConfig(write=WriteConfig(crf=24))
    sound = 40 * estimate.SOUND_BYTES_S + 1000 * 16 + 8192
    assert estimate.output_bytes(HD, 1000, DubConfig()) - sound == pytest.approx(
        4 * (estimate.output_bytes(small, 1000, DubConfig()) - sound)
    )
    assert estimate.output_bytes(HD, 1000, coarse) - sound == pytest.approx(
        (estimate.output_bytes(HD, 1000, DubConfig()) - sound) / 4
    )
    assert estimate.kept_bytes([HD], 0, DubConfig()) == 2 * 2**30 > estimate.kept_bytes([HD], 100, DubConfig()) > 10**7


def test_finished_jobs_set_the_estimate_right(ten_frames, short_speech, tmp_path, cache):
    jobs = [job(ten_frames, short_speech, f"{i}.mp4") for i in range(5)]
    plain = checked_jobs(jobs, tmp_path, cache, workers=Here())[4]
    video = VideoFacts(480, 270, 10, 25.0, 8 * os.path.getsize(ten_frames) / (480 * 270 * 10))
    for i, text in enumerate([None, "{", "[]"]):
        facts = {
            "output": {"frames": 60, "bytes": round(3 * estimate.output_bytes(video, 60, DubConfig()))},
            "seconds": {"dub": 2 * estimate.draw_seconds(video, 60)},
        }
        receipt_path(tmp_path / f"{i}.mp4").write_text(text or json.dumps(facts))
    checked = checked_jobs(jobs, tmp_path, cache, kept={0, 1, 2}, workers=Here())
    assert checked[:3] == [Checked()] * 3
    assert checked[4].n_bytes == pytest.approx(3 * plain.n_bytes, rel=1e-3)
    assert checked[4].seconds - estimate.OPEN_S == pytest.approx(2 * (plain.seconds - estimate.OPEN_S))
    assert estimate.scale_from([]) == Scale()


def test_time_is_shared_by_workers_but_not_below_the_longest_job():
    records = records_of(*[Checked(seconds=10.0)] * 8, Checked(seconds=100.0, first_s=80.0))
    assert time_s(records, 1) == 180 and time_s(records, 2) == 100 and time_s([], 3) == 0


def test_room_on_one_disk_or_two(tmp_path, cache, monkeypatch):
    records = records_of(Checked(n_bytes=600, cache_bytes=500))
    free = 1000
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    enough, sentence = room(records, tmp_path / "new" / "out", cache)
    assert not enough and "not enough" in sentence and sentence.count("free on the disk") == 1
    stat = os.stat
    monkeypatch.setattr(
        preflight.os,
        "stat",
        lambda path, **more: SimpleNamespace(st_dev=1) if Path(path).name == "there" else stat(path, **more),
    )
    (tmp_path / "there").mkdir()
    enough, sentence = room(records, tmp_path, Cache(tmp_path / "there"))
    assert enough and sentence.count("free on the disk") == 2 and "not enough" not in sentence


def test_summary(tmp_path, cache):
    bad = [Checked(fault=f"jobs.csv, line {i}: bad") for i in range(25)]
    good = [Checked(frames=90000, duration_s=3600.0, seconds=7200.0)] * 2
    lines = summary(records_of(*bad, *good, kept=3), 2, tmp_path, cache)
    assert lines[0] == "30 jobs: 2 to do, 3 done already, 25 that cannot be done."
    assert (
        lines[1] == "Cannot be done: jobs.csv, line 0: bad"
        and lines[21] == "... and 5 more."
        and "line 20" not in "\n".join(lines)
    )
    assert lines[22] == "Output: 2 h of video." and lines[24] == "Time: about 2 h with 2 workers (an estimate)."
    assert summary(records_of(kept=1), 1, tmp_path, cache) == ["1 job: 0 to do, 1 done already, 0 that cannot be done."]


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(1, 5000), st.sets(st.integers(0, 4999)))
def test_pictures_are_spread(n, keys):
    rows = spread_rows(n, np.array(sorted({0} | {k for k in keys if k < n})))
    assert 1 <= len(rows) <= PICTURES and (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < n
    if n >= PICTURES:
        assert np.diff([-1, *rows, n]).max() <= n / PICTURES * 2 + 2


# Length of a speech


def test_the_length_of_a_speech(short_speech, tmp_path):
    import av

    assert speech_length(short_speech) == load_speech(short_speech).duration_s == Fraction(241, 100)
    samples, rate = soundfile.read(short_speech, dtype="float32")
    soundfile.write(tmp_path / "a.flac", samples, rate)
    for name, codec in (("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.mka", "libopus"), ("a.aac", "aac")):
        with av.open(str(tmp_path / name), "w") as container:
            track = container.add_stream(codec, rate=48000 if codec == "libopus" else 16000)
            frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
            frame.sample_rate = rate
            resampler = av.AudioResampler(
                format=track.codec_context.format or "fltp",
                layout="mono",
                rate=track.rate,
                frame_size=track.codec_context.frame_size or 960,
            )
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(track.encode(part))
            container.mux(track.encode(None))
    for name in ("a.flac", "a.mp3", "a.m4a", "a.mka", "a.aac"):
        assert abs(speech_length(tmp_path / name) - load_speech(tmp_path / name).duration_s) < 0.15, name
    soundfile.write(tmp_path / "none.wav", samples[:0], rate)
    for name in ("none.wav", "missing.wav"):
        with pytest.raises(MediaError):
            speech_length(tmp_path / name)
