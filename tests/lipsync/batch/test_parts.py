"""Jobs that dub parts of a target: what the manifest says, what the dub is asked, and what the job's identity is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from lipsync.batch.job import Job, JobRecord, Parts, Sources
from lipsync.batch.manifest import read_manifest
from lipsync.batch.parts import check_span, files_of
from lipsync.batch.preflight import check_jobs
from lipsync.batch.worker import BatchPaths, job_id, perform, task_of
from lipsync.core.errors import LipsyncError, UsageError
from tests.support.video_clips import write_clip


def jobs(tmp_path, name, text, **options):
    (tmp_path / name).write_text(text)
    return read_manifest(tmp_path / name, **options)


def test_every_kind_of_manifest_says_the_same(tmp_path):
    want = Parts(str(tmp_path / "who.csv"), ("Anna=1", "Ben=0"))
    toml = '[[job]]\ntarget = "a.mp4"\nsegments = "who.csv"\ncast = {Anna = 1, Ben = 0}\n'
    lines = '{"target": "a.mp4", "segments": "who.csv", "cast": ["Anna=1", "Ben=0"]}\n'
    cells = "target,segments,cast\na.mp4,who.csv,Anna=1; Ben=0\n"
    for name, text in (("a.toml", toml), ("a.jsonl", lines), ("a.csv", cells)):
        (job,) = jobs(tmp_path, name, text)
        assert (job.parts, job.speech, job.fault, job.out) == (want, "", "", "a-dubbed.mp4"), name
    (job,) = jobs(tmp_path, "b.toml", '[[job]]\ntarget = "a.mp4"\nspeech = "b.wav"\nfrom = 4\nto = "0:07.5"\n')
    assert job.parts == Parts(start="4", end="0:07.5") and job.out == "a-b.mp4"


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ('segments = "who.csv"\nfrom = 4', "either segments or from and to"),
        ('speech = "b.wav"\ncast = ["A=1"]', "cast says which faces"),
        ('segments = "who.csv"\ncast = ["A"]', "must be LABEL=N"),
        ('segments = "who.csv"\ncast = 3', "cast must be a list"),
        ('speech = "b.wav"\nfrom = "four"', "'four' is no from: write seconds"),
        ('speech = "b.wav"\nfrom = true', "from must be a time"),
        ("from = 4", "The speech is missing"),
        ('speech = "b.wav"\nmix = "m.wav"\nbackground = "m.wav"', "mix is the finished sound already"),
        ('lips_from = "m.mp4"\nto = 4', "lips_from drives a whole dub"),
        ('speech = "b.wav"\nmix = 3', "mix must be the name of a file"),
        ('speech = "b.wav"\nbackground_db = 3\nsound.background_db = 3', "'sound.background_db' is given twice"),
    ],
)
def test_what_contradicts_itself_is_that_jobs_fault(tmp_path, keys, fault):
    (job,) = jobs(tmp_path, "a.toml", f'[[job]]\ntarget = "a.mp4"\n{keys}\n')
    assert "line 1" in job.fault and fault in job.fault


def test_recordings_named_by_segments_stay_in_the_root(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "who.csv").write_text("start,end,speech\n1,2,../out.wav\n")
    (job,) = jobs(inside, "a.toml", '[[job]]\ntarget = "a.mp4"\nsegments = "who.csv"\n', root=inside)
    assert "lies outside" in job.fault
    (job,) = jobs(inside, "a.toml", '[[job]]\ntarget = "a.mp4"\nsegments = "who.csv"\n')
    assert not job.fault and files_of(job.parts) == [str(inside / "../out.wav")]


def test_the_dub_is_asked_for_the_parts(tmp_path, small_target, short_speech, shared_cache, monkeypatch):
    asked = []

    def dub(*args, segments, span, prepared, **options):
        asked.append((args[1], [(one.start_s, one.end_s, one.person) for one in segments], span, prepared))
        raise LipsyncError("enough")

    monkeypatch.setattr("lipsync.pipelines.dub.dub", dub)
    monkeypatch.setattr("lipsync.batch.worker._prepared", lambda *_: "ready")
    paths = BatchPaths(str(tmp_path), str(shared_cache.folder))
    (tmp_path / "who.csv").write_text(f"start,end,person,speech\n1,2,Anna,{short_speech}\n")
    for keys in (f'speech = "{short_speech}"\nfrom = 4', 'segments = "who.csv"\ncast = {Anna = 0}'):
        (job,) = jobs(tmp_path, "a.toml", f'[[job]]\ntarget = "{small_target}"\n{keys}\n')
        assert perform(task_of(job, paths)) == {"fault": "enough"}
    assert asked == [
        (short_speech, [], ("4", None), "ready"),
        (None, [(Fraction(1), Fraction(2), 0)], None, None),
    ]


def test_a_job_is_another_when_its_parts_are(tmp_path, small_target, short_speech):
    file = tmp_path / "who.csv"
    file.write_text(f"start,end,person,speech\n1,2,0,{short_speech}\n")
    (job,) = jobs(tmp_path, "a.toml", f'[[job]]\ntarget = "{small_target}"\nsegments = "who.csv"\n')
    ids = [job_id(job), job_id(replace(job, parts=Parts("auto"))), job_id(replace(job, parts=Parts()))]
    file.write_text(f"start,end,person,speech\n1,3,0,{short_speech}\n")
    ids += [job_id(job), job_id(replace(job, parts=Parts(start="1"))), job_id(replace(job, parts=Parts(end="1")))]
    assert len(set(ids)) == 6


def test_more_files_are_named_alike_in_every_kind_of_manifest(tmp_path):
    under = Sources(background=str(tmp_path / "music/a.wav"))
    toml = '[[job]]\ntarget = "a.mp4"\nspeech = "b.wav"\nbackground = "music/a.wav"\nbackground_db = -12\n'
    lines = '{"target": "a.mp4", "speech": "b.wav", "background": "music/a.wav", "background_db": -12}\n'
    cells = "target,speech,background,background_db\na.mp4,b.wav,music/a.wav,-12\n"
    for name, text in (("a.toml", toml), ("a.jsonl", lines), ("a.csv", cells)):
        (job,) = jobs(tmp_path, name, text)
        assert (job.sources, job.config.sound.background_db, job.fault) == (under, -12.0, ""), name
    mixed, acted = jobs(tmp_path, "b.csv", "target,speech,mix,lips_from\na.mp4,b.wav,m.wav,\na.mp4,,,actor.mp4\n")
    assert (mixed.sources, mixed.out, mixed.fault) == (Sources(mix=str(tmp_path / "m.wav")), "a-b.mp4", "")
    assert (acted.sources.lips_from, acted.speech, acted.out) == (str(tmp_path / "actor.mp4"), "", "a-actor.mp4")
    (job,) = jobs(tmp_path, "c.csv", "target,speech,background\na.mp4,b.wav,original\n")
    assert job.sources == Sources(background="original") and not job.sources.files


def test_more_files_stay_in_the_root(tmp_path):
    for key in ("mix", "background", "lips_from"):
        (job,) = jobs(tmp_path, "a.csv", f"target,speech,{key}\na.mp4,b.wav,../x.mp4\n", root=tmp_path)
        assert f"{key} ../x.mp4 lies outside" in job.fault


def test_more_files_are_looked_at_before_the_first_job(tmp_path, small_target, short_speech, shared_cache):
    text, silent = tmp_path / "words.txt", tmp_path / "silent.mp4"
    text.write_text("no sound\n")
    write_clip(silent, 10)
    keep = "timeline = keep"
    for keys, fault in (
        ("mix = missing.wav", "The file of mix MISSING does not exist"),
        ("background = missing.wav", "The file of background MISSING does not exist"),
        ("lips_from = missing.wav", "The file of lips_from MISSING does not exist"),
        (f"mix = {text}", f"{text} is not an audio or video file"),
        (f"lips_from = {text}", f"{text} is not a video"),
        (f"target = {silent}; background = original; {keep}", "The target has no sound to lie under the speech"),
        ("background = original; timeline = retime", "fits only pictures in its own time"),
        ("background_db = -3", "name one with --background"),
        (f"background = {short_speech}; background_db = -3", ""),
    ):
        asked = {"target": str(small_target), "speech": str(short_speech)}
        asked |= dict(one.split(" = ") for one in keys.split("; "))
        asked |= {"retime.timeline": asked.pop("timeline")} if "timeline" in asked else {}
        (job,) = jobs(tmp_path, "a.csv", f"{','.join(asked)}\n{','.join(asked.values())}\n")
        record = JobRecord(job)
        check_jobs([record], tmp_path / "out", shared_cache)
        assert fault.replace("MISSING", str(tmp_path / "missing.wav")) in record.checked.fault, keys
        assert bool(fault) == bool(record.checked.fault), record.checked.fault


def test_the_dub_is_asked_for_more_files(tmp_path, small_target, short_speech, shared_cache, monkeypatch):
    asked = []

    def dub(*args, lips_from, mix, background, prepared, **options):
        asked.append((args[1], lips_from, mix, background, prepared))
        raise LipsyncError("enough")

    monkeypatch.setattr("lipsync.pipelines.dub.dub", dub)
    monkeypatch.setattr("lipsync.batch.worker._prepared", lambda *_: "ready")
    base = Job(str(small_target), str(short_speech), "o.mp4")
    more = [Sources(), Sources(mix=str(short_speech)), Sources(background="original")]
    told = [replace(base, sources=sources) for sources in more]
    told.append(replace(base, speech="", sources=Sources(lips_from=str(small_target))))
    for job in told:
        assert perform(task_of(job, BatchPaths(str(tmp_path), str(shared_cache.folder)))) == {"fault": "enough"}
    assert asked == [
        (short_speech, None, None, None, "ready"),
        (short_speech, None, short_speech, None, "ready"),
        (short_speech, None, None, "original", "ready"),
        (None, small_target, None, None, None),
    ]
    assert len({job_id(job) for job in told}) == len(told)


@pytest.mark.parametrize(
    ("start", "end", "fit", "says"),
    [
        ("6", "3", False, "must end after it starts"),
        ("7:00", "", False, "from and to: 420.00 s: the target lasts from 0 to 8.00 s"),
        ("7", "", False, "2.00 s longer than its slot of 1.00 s"),
        ("5.2", "", False, "Add --fit"),
        ("5.2", "", True, ""),
        ("5", "", False, ""),
        ("", "", False, ""),
    ],
)
def test_times_and_lengths_are_checked_before_the_first_job(start, end, fit, says):
    if not says:
        check_span(Parts(start=start, end=end), "a.wav", 3.0, 8.0, fit)
        return
    with pytest.raises(UsageError, match=says):
        check_span(Parts(start=start, end=end), "a.wav", 3.0, 8.0, fit)
