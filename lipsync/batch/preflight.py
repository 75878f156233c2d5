"""What a dry run does: every job is checked before the first frame is drawn. Costly probes are shared by all jobs that
need the same one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lipsync.batch import estimate
from lipsync.batch.estimate import Scale, VideoFacts
from lipsync.batch.job import Checked, Job, JobRecord, Parts
from lipsync.batch.manifest import out_path
from lipsync.batch.parts import check_parts, check_sound, check_span, files_of
from lipsync.batch.pool import LocalWorkers, Workers
from lipsync.batch.probe import PICTURES
from lipsync.batch.readers import one_line
from lipsync.batch.storage.address import is_url, redacted
from lipsync.config.load import to_plain
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.core.text import counted, format_duration
from lipsync.sandbox.limits import Limits
from lipsync.store.cache import Cache
from lipsync.store.preflight import check_readable, receipt_path, refuse_photo

#: Seconds after which a probe is given up: some files must be decoded whole to know their length.
_PROBE_S = 1800.0
#: Reasons that a summary shows.
_MOST_SHOWN = 20
T = TypeVar("T")


def check_jobs(
    records: Sequence[JobRecord],
    out_folder: str | Path,
    cache: Cache,
    *,
    deep: bool = True,
    hook: Hook = silent,
    limits: Limits | None = None,
    workers: Workers | None = None,
) -> None:
    """Each record, save those of jobs found done, learns what can be known of its job now. deep: files are also opened,
    and faces looked for, by a process of their own (workers: another than a local one, bound by `limits`). Nothing is
    written; inputs that are URLs are not opened. LipsyncError where the output or cache folder is of no use to any
    job."""
    if not is_url(out_folder):
        _check_folder(Path(out_folder), "output folder", "-o")
    _check_folder(cache.folder, "cache folder", "--set cache.folder=FOLDER")
    workers = workers or LocalWorkers(1, limits, "lipsync.batch.probe:perform")
    checks = _Checks(records, out_folder, cache, deep, workers)
    try:
        scale = checks.scale() if deep else Scale()
        for number, record in enumerate(records):
            if not record.is_kept:
                record.checked = checks.job(record.job, scale)
            hook("check", number + 1, len(records))
    finally:
        workers.close(now=True)


class _Fault(LipsyncError):
    """What a probe found, repeated to every job that it concerns."""


class _Checks:
    """What is known so far: each answer or fault by what was asked, and for which file and options."""

    def __init__(
        self, records: Sequence[JobRecord], out_folder: str | Path, cache: Cache, deep: bool, workers: Workers
    ) -> None:
        self._records, self._out_folder, self._deep = records, out_folder, deep
        self._workers = workers
        self._known: dict[tuple[str, object], tuple[Any, str]] = {}
        self._begun: set[tuple] = set()
        self._analysed = {entry.key: entry.label for entry in cache.entries() if entry.step == "track"}
        self._inputs: frozenset[str] | None = None

    def job(self, job: Job, scale: Scale) -> Checked:
        if job.fault:
            return Checked(job.fault)
        try:
            self._files(job)
            return self._opened(job, scale) if self._deep else Checked()
        except LipsyncError as error:
            return Checked(one_line(f"{job.line}: {error}" if job.line else str(error)))

    def scale(self) -> Scale:
        """How long finished jobs took, and how large they are."""
        found = []
        for job in [record.job for record in self._records if record.is_kept][: estimate.MOST_RECEIPTS]:
            if is_url(job.target) or is_url(self._out_folder):
                continue
            try:
                video = self._video(job.target, job.config)
                found.append((receipt_path(out_path(self._out_folder, job.out)), video, job.config))
            except LipsyncError:
                continue
        return estimate.scale_from(found)

    def _once(self, what: str, key: object, find: Callable[[], T]) -> T:
        """What `find` returns, or the fault that it raises; it is called once for each key."""
        if (what, key) not in self._known:
            try:
                self._known[what, key] = find(), ""
            except LipsyncError as error:
                self._known[what, key] = None, str(error)
            except OSError as error:
                self._known[what, key] = None, f"{error.filename or key} cannot be used: {error.strerror or error}."
        found, fault = self._known[what, key]
        if fault:
            raise _Fault(fault)
        return found

    def _probe(self, what: str, name: str, config: DubConfig, sections: Sequence[str] = (), key: object = None) -> Any:
        """What a process of its own finds (lipsync/batch/probe.py); sections: of the configuration, that the answer
        depends on."""
        depends_on = tuple(getattr(config, section) for section in sections)
        return self._once(
            what,
            (name, depends_on if key is None else key),
            lambda: self._answer({"probe": what, "name": name, "config": to_plain(config)}),
        )

    def _answer(self, task: dict) -> object:
        self._workers.submit(0, 0, task)
        end_s = time.monotonic() + _PROBE_S
        while time.monotonic() < end_s:
            for event in self._workers.wait(1.0):
                if event.kind == "lost":
                    raise _Fault(f"{task['name']} cannot be looked at. {event.message['reason']}")
                if event.kind == "ended":
                    if "fault" in event.message:
                        raise _Fault(event.message["fault"])
                    return event.message["found"]
        self._workers.close(now=True)
        raise _Fault(f"{task['name']} took longer than {_PROBE_S / 60:.0f} minutes to open. Convert it to MP4.")

    def _files(self, job: Job) -> None:
        """Raises LipsyncError where an input cannot be read or the output not written."""
        roles = [
            (job.target, "target video"),
            *((name, "speech file") for name in (job.speech, *self._said(job)) if name),
            *((name, "footage") for name in job.footage),
            *((name, f"file of {key}") for key, name in job.sources.files.items()),
        ]
        for name, role in roles:
            if not is_url(name):
                self._once("readable", name, partial(check_readable, name, role))
        if is_url(self._out_folder):
            return
        out = out_path(self._out_folder, job.out)
        self._once("folder", str(out.parent), lambda: _check_folder(out.parent, "output folder", "out"))
        if out.is_dir():
            raise LipsyncError(f"The output {out} is a folder. Name the file to write.")
        for file in (out, receipt_path(out)):
            if os.path.lexists(file) and os.path.realpath(file) in self._all_inputs():
                raise LipsyncError(
                    f"The output {file} is an input of this batch. Choose another out, or another folder with -o."
                )

    def _said(self, job: Job) -> list[str]:
        """What the segments of a job name."""
        self._once("recordings", job.parts.segments, lambda: check_parts(job.parts))
        return self._once("segments", job.parts, lambda: files_of(job.parts))

    def _all_inputs(self) -> frozenset[str]:
        if self._inputs is None:
            jobs = [record.job for record in self._records]
            names = {name for job in jobs for name in (job.target, job.speech, *job.footage, job.parts.segments)}
            names |= {name for job in jobs for name in job.sources.files.values()}
            self._inputs = frozenset(os.path.realpath(name) for name in names if name and not is_url(name))
        return self._inputs

    def _opened(self, job: Job, scale: Scale) -> Checked:
        """What the files hold, and what the job will cost. LipsyncError: it cannot be done."""
        self._settings(job)
        config = job.config
        said = [name for name in (job.speech, *self._said(job)) if name and not is_url(name)]
        film_s = self._performance_s(job)
        speech_s = sum(self._sound_s(name, config) for name in said) or film_s
        for name in (job.sources.mix, job.sources.files.get("background", "")):
            if name and not is_url(name):
                self._sound_s(name, config)
        if any(map(is_url, (job.target, *job.footage))):
            return Checked(duration_s=speech_s)
        videos = [self._video(name, config) for name in (job.target, *job.footage)]
        refuse_photo(job.target, videos[0].frames)
        check_sound(job, videos[0].has_audio, estimate.keeps_time(videos[0], speech_s, config))
        check_span(job.parts, job.speech, speech_s, videos[0].frames / videos[0].rate, config.sound.fit)
        at_least_px = config.face.min_eye_distance_px
        face = (job.target, config.face.backend, config.face.dlib_predictor, at_least_px, config.limits)
        eyes_px = self._probe("eyes", job.target, config, key=face)
        first_s, kept_bytes = self._first(job, videos, eyes_px)
        rows = estimate.rows_of(videos[0], speech_s, config) if speech_s else 0
        rows = rows if job.parts == Parts() else videos[0].frames
        warning = (
            f"No face of at least {at_least_px:g} pixels from eye to eye was found in {PICTURES} "
            f"pictures of {job.target}."
        )
        return Checked(
            "",
            rows,
            estimate.seconds_of(videos[0], rows, speech_s, config) if rows else 0.0,
            round(estimate.output_bytes(videos[0], rows, config) * scale.n_bytes),
            round(kept_bytes),
            estimate.OPEN_S + first_s + estimate.draw_seconds(videos[0], rows) * scale.seconds,
            first_s,
            () if eyes_px else (warning,),
        )

    def _settings(self, job: Job) -> None:
        """Raises LipsyncError where the options of a job cannot be used here."""
        config, suffix = job.config, Path(job.out).suffix
        encoder = config.write.codec, config.write.crf, config.write.preset
        try:
            self._probe("encoder", f"OUTPUT{suffix}", config, key=encoder)
        except _Fault as error:
            raise _Fault(str(error).replace(f"OUTPUT{suffix}", job.out)) from None
        name = config.texture
        own = config if name.endswith(".py") else getattr(config, name.replace("-", "_"), None)
        self._probe("texture", name, config, key=(config.texture_weights, config.train_texture, own))
        self._probe("device", config.device, config)
        if config.lips.model:
            self._probe("lip model", config.lips.model, config)

    def _sound_s(self, name: str, config: DubConfig) -> float:
        """How long a recording is, seconds."""
        return self._probe("speech", name, config, ["limits"])

    def _performance_s(self, job: Job) -> float:
        """The same of a film of lips that brings its own sound; of a silent one, how long it is. 0: there is none, or
        it is not here."""
        name = job.sources.lips_from
        if not name or is_url(name):
            return 0.0
        film = self._video(name, job.config)
        return self._sound_s(name, job.config) if film.has_audio and not job.speech else film.duration_s

    def _video(self, name: str, config: DubConfig) -> VideoFacts:
        return VideoFacts(**self._probe("video", name, config, ["limits"]))

    def _first(self, job: Job, videos: Sequence[VideoFacts], eyes_px: float) -> tuple[float, float]:
        """(seconds, bytes of the cache) for what the first job of a group does for the others; nothing where it was
        done before."""
        if job.group in self._begun:
            return 0.0, 0.0
        self._begun.add(job.group)
        # Else there is no need to read all of it.
        if os.path.basename(job.target) in self._analysed.values() and (
            self._probe("track key", job.target, job.config, ["face"]) in self._analysed
        ):
            return 0.0, 0.0
        return estimate.follow_seconds(videos, job.config), estimate.kept_bytes(videos, eyes_px, job.config)


def summary(
    records: Sequence[JobRecord], workers: int, out_folder: str | Path, cache: Cache, reasons: bool = True
) -> list[str]:
    """Lines for the terminal: counts, reasons (unless they are reported elsewhere), length, room and time."""
    faults, kept = [r.checked.fault for r in records if r.checked.fault], sum(r.is_kept for r in records)
    todo = [r.checked for r in records if not r.checked.fault and not r.is_kept]
    counts = f"{len(todo)} to do, {kept} done already, {len(faults)} that cannot be done"
    lines = [f"{counted(len(records), 'job')}: {counts}."]
    lines += _first_few("Cannot be done", faults) if reasons else []
    lines += _first_few("Note", list(dict.fromkeys(text for one in todo for text in one.warnings)))
    if todo:
        unknown = sum(not one.frames for one in todo)
        lines.append(
            f"Output: {format_duration(sum(one.duration_s for one in todo))} of video"
            + (f", and {counted(unknown, 'job')} of unknown length." if unknown else ".")
        )
        lines += [
            room(records, out_folder, cache)[1],
            f"Time: about {format_duration(time_s(records, workers))} with {counted(workers, 'worker')} (an estimate).",
        ]
    return lines


def time_s(records: Sequence[JobRecord], workers: int) -> float:
    """Seconds for all that is to do, about: never less than the longest analysis, which one worker does alone."""
    seconds = [record.checked.seconds for record in records]
    return max(sum(seconds) / max(1, workers), max(seconds, default=0.0))


def room(records: Sequence[JobRecord], out_folder: str | Path, cache: Cache) -> tuple[bool, str]:
    """(whether there is enough, a sentence): disk needed, about, against disk free."""
    out_bytes, cache_bytes = (sum(r.checked.n_bytes for r in records), sum(r.checked.cache_bytes for r in records))
    if is_url(out_folder):
        return True, f"Disk: about {_size(out_bytes)} for the videos in {redacted(out_folder)}."
    here, there = _existing(Path(out_folder)), _existing(cache.folder)
    needs = {here: out_bytes, there: cache_bytes}
    if os.stat(here).st_dev == os.stat(there).st_dev:
        needs = {here: out_bytes + cache_bytes}
    short = [folder for folder, n_bytes in needs.items() if shutil.disk_usage(folder).free < n_bytes]
    free = " and ".join(f"{_size(shutil.disk_usage(folder).free)} free on the disk of {folder}" for folder in needs)
    verdict = ""
    if short:
        verdict = f" That is not enough: free some room, or choose another folder for {' and '.join(map(str, short))}."
    needed = f"about {_size(out_bytes)} for the videos and {_size(cache_bytes)} for analyses"
    return not short, f"Disk: {needed}; {free}.{verdict}"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = Path(os.path.abspath(folder))
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _check_folder(folder: Path, role: str, option: str) -> None:
    """LipsyncError where a folder neither can be written to nor can be made."""
    there = _existing(folder)
    if not there.is_dir():
        raise LipsyncError(f"The {role} {folder} cannot be made: {there} is no folder. Choose another with {option}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise LipsyncError(
            f"The {role} {folder} cannot be written: {there} is protected. Choose another with {option}."
        )


def _first_few(head: str, reasons: list[str]) -> list[str]:
    more = [f"... and {len(reasons) - _MOST_SHOWN} more."] if len(reasons) > _MOST_SHOWN else []
    return [f"{head}: {reason}" for reason in reasons[:_MOST_SHOWN]] + more


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if n_bytes >= 10 or unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"
