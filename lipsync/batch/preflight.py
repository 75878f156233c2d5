"""What a dry run does: every job is looked at before the first frame is drawn. Costly looks are shared by all jobs that
need the same one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lipsync.batch import estimate
from lipsync.batch.estimate import Film, Scale
from lipsync.batch.job import Job
from lipsync.batch.manifest import one_line, out_path
from lipsync.batch.pool import LocalWorkers, Workers
from lipsync.batch.probe import PICTURES
from lipsync.batch.storage.store import is_url, shown
from lipsync.config.load import to_plain
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.sandbox.limits import Limits
from lipsync.store.cache import Cache
from lipsync.store.preflight import check_readable, receipt_path

#: Seconds after which a look is given up: some files must be decoded whole to know their length.
_LOOK_S = 1800.0
#: Reasons that a summary shows.
_MOST_SHOWN = 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a job before it begins. fault: why it cannot be done ("" = nothing known); frames, duration_s:
    of its video (0 = not known); n_bytes: about, of its video; cache_bytes: about, of what it is the first to analyse;
    seconds: about, of one worker, of which first_s for that analysis; kept: it is done already."""

    fault: str = ""
    frames: int = 0
    duration_s: float = 0.0
    n_bytes: int = 0
    cache_bytes: int = 0
    seconds: float = 0.0
    first_s: float = 0.0
    warnings: tuple[str, ...] = ()
    kept: bool = False


def check_jobs(
    jobs: Sequence[Job],
    out_folder: str | Path,
    cache: Cache,
    *,
    kept: Collection[int] = (),
    deep: bool = True,
    hook: Hook = silent,
    limits: Limits | None = None,
    workers: Workers | None = None,
) -> list[Checked]:
    """What can be known of each job now. kept: numbers of finished jobs, which are not looked at; deep: files are also
    opened, and faces looked for, by a process of their own (workers: another than a local one, bound by `limits`).
    Nothing is written; inputs that are URLs are not looked at. LipsyncError where the output or cache folder is of no
    use to any job."""
    if not is_url(out_folder):
        _check_folder(Path(out_folder), "output folder", "-o")
    _check_folder(cache.folder, "cache folder", "--set cache.folder=FOLDER")
    workers = workers or LocalWorkers(1, limits, "lipsync.batch.probe:perform")
    looks, kept, checked = _Looks(jobs, out_folder, cache, deep, workers), frozenset(kept), []
    try:
        scale = looks.scale(kept) if deep else Scale()
        for number, job in enumerate(jobs):
            checked.append(Checked(kept=True) if number in kept else looks.job(job, scale))
            hook("check", number + 1, len(jobs))
    finally:
        workers.close(now=True)
    return checked


class _Fault(LipsyncError):
    """What a look found, said again to every job that it concerns."""


class _Looks:
    def __init__(self, jobs: Sequence[Job], out_folder: str | Path, cache: Cache, deep: bool, workers: Workers) -> None:
        self._jobs, self._out_folder, self._deep = jobs, out_folder, deep
        self._workers, self._known = workers, {}
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

    def scale(self, kept: Collection[int]) -> Scale:
        """How long finished jobs took, and how large they are."""
        found = []
        for number in sorted(kept)[: estimate.MOST_RECEIPTS]:
            job = self._jobs[number]
            if not is_url(job.target) and not is_url(self._out_folder):
                try:
                    found.append(
                        (
                            receipt_path(out_path(self._out_folder, job.out)),
                            self._film(job.target, job.config),
                            job.config,
                        )
                    )
                except LipsyncError:
                    continue
        return estimate.scale_from(found)

    def _once(self, what: str, key: object, look: Callable[[], T]) -> T:
        """What `look` returns, or the fault that it raises; it looks once for each key."""
        if (what, key) not in self._known:
            try:
                self._known[what, key] = look(), ""
            except LipsyncError as error:
                self._known[what, key] = None, str(error)
            except OSError as error:
                self._known[what, key] = None, f"{error.filename or key} cannot be used: {error.strerror or error}."
        found, fault = self._known[what, key]
        if fault:
            raise _Fault(fault)
        return found

    def _look(
        self, what: str, name: str, config: DubConfig, sections: Sequence[str] = (), key: object = None
    ) -> object:
        """What a process of its own finds (lipsync/batch/probe.py); sections: of the configuration, that the answer
        hangs on."""
        hangs_on = tuple(getattr(config, section) for section in sections)
        return self._once(
            what,
            (name, hangs_on if key is None else key),
            lambda: self._asked({"look": what, "name": name, "config": to_plain(config)}),
        )

    def _asked(self, task: dict) -> object:
        self._workers.submit(0, 0, task)
        end_s = time.monotonic() + _LOOK_S
        while time.monotonic() < end_s:
            for report in self._workers.wait(1.0):
                if report.kind == "lost":
                    raise _Fault(f"{task['name']} cannot be looked at. {report.said['reason']}")
                if report.kind == "ended":
                    if "fault" in report.said:
                        raise _Fault(report.said["fault"])
                    return report.said["found"]
        self._workers.close(now=True)
        raise _Fault(f"{task['name']} took longer than {_LOOK_S / 60:.0f} minutes to open. Convert it to MP4.")

    def _files(self, job: Job) -> None:
        """Raises LipsyncError where an input cannot be read or the output not written."""
        for name, role in (
            (job.target, "target video"),
            (job.speech, "speech file"),
            *((name, "footage") for name in job.footage),
        ):
            if not is_url(name):
                self._once("readable", name, lambda: check_readable(name, role))
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

    def _all_inputs(self) -> frozenset[str]:
        if self._inputs is None:
            names = {name for job in self._jobs for name in (job.target, job.speech, *job.footage)}
            self._inputs = frozenset(os.path.realpath(name) for name in names if name and not is_url(name))
        return self._inputs

    def _opened(self, job: Job, scale: Scale) -> Checked:
        """What the files hold, and what the job will cost. LipsyncError: it cannot be done."""
        self._settings(job)
        config = job.config
        speech_s = 0.0 if is_url(job.speech) else self._look("speech", job.speech, config, ["limits"])
        if any(map(is_url, (job.target, *job.footage))):
            return Checked(duration_s=speech_s)
        films = [self._film(name, config) for name in (job.target, *job.footage)]
        face = (
            job.target,
            config.face.backend,
            config.face.dlib_predictor,
            config.face.min_eye_distance_px,
            config.limits,
        )
        eyes_px = self._look("eyes", job.target, config, key=face)
        first_s, kept_bytes = self._first(job, films, eyes_px)
        rows = estimate.rows_of(films[0], speech_s, config) if speech_s else 0
        sought = (
            f"No face of at least {config.face.min_eye_distance_px:g} pixels from eye to eye was found in {PICTURES} "
            f"pictures of {job.target}."
        )
        return Checked(
            "",
            rows,
            rows / films[0].rate,
            round(estimate.output_bytes(films[0], rows, config) * scale.n_bytes),
            round(kept_bytes),
            estimate.OPEN_S + first_s + estimate.draw_seconds(films[0], rows) * scale.seconds,
            first_s,
            () if eyes_px else (sought,),
        )

    def _settings(self, job: Job) -> None:
        """Raises LipsyncError where the options of a job cannot be used here."""
        config, suffix = job.config, Path(job.out).suffix
        try:
            self._look(
                "encoder", f"OUTPUT{suffix}", config, key=(config.write.codec, config.write.crf, config.write.preset)
            )
        except _Fault as error:
            raise _Fault(str(error).replace(f"OUTPUT{suffix}", job.out)) from None
        name = config.texture
        own = config if name.endswith(".py") else getattr(config, name.replace("-", "_"), None)
        self._look("texture", name, config, key=(config.texture_weights, config.train_texture, own))
        self._look("device", config.device, config)
        if config.lips.model:
            self._look("lip model", config.lips.model, config)

    def _film(self, name: str, config: DubConfig) -> Film:
        return Film(**self._look("film", name, config, ["limits"]))

    def _first(self, job: Job, films: Sequence[Film], eyes_px: float) -> tuple[float, float]:
        """(seconds, bytes of the cache) for what the first job of a group does for the others; nothing where it was
        done before."""
        if job.group in self._begun:
            return 0.0, 0.0
        self._begun.add(job.group)
        if os.path.basename(job.target) in self._analysed.values():  # else there is no need to read all of it
            if self._look("track key", job.target, job.config, ["face"]) in self._analysed:
                return 0.0, 0.0
        return estimate.follow_seconds(films, job.config), estimate.kept_bytes(films, eyes_px, job.config)


def summary(
    checked: Sequence[Checked], workers: int, out_folder: str | Path, cache: Cache, reasons: bool = True
) -> list[str]:
    """Lines for the terminal: counts, reasons (unless they are told elsewhere), length, room and time."""
    faulty, kept = [one for one in checked if one.fault], sum(one.kept for one in checked)
    todo = [one for one in checked if not one.fault and not one.kept]
    lines = [f"{len(checked)} jobs: {len(todo)} to do, {kept} done already, {len(faulty)} that cannot be done."]
    lines += _shown("Cannot be done", [one.fault for one in faulty]) if reasons else []
    lines += _shown("Note", list(dict.fromkeys(text for one in todo for text in one.warnings)))
    if todo:
        unknown = sum(not one.frames for one in todo)
        lines.append(
            f"Output: {_span(sum(one.duration_s for one in todo))} of video"
            + (f", and {unknown} jobs of unknown length." if unknown else ".")
        )
        lines += [
            room(checked, out_folder, cache)[1],
            f"Time: about {_span(time_s(checked, workers))} with {workers} worker{'s' * (workers != 1)} (an estimate).",
        ]
    return lines


def time_s(checked: Sequence[Checked], workers: int) -> float:
    """Seconds for all that is to do, about: never less than the longest analysis, which one worker does alone."""
    return max(
        sum(one.seconds for one in checked) / max(1, workers), max((one.seconds for one in checked), default=0.0)
    )


def room(checked: Sequence[Checked], out_folder: str | Path, cache: Cache) -> tuple[bool, str]:
    """(whether there is enough, a sentence): disk needed, about, against disk free."""
    out_bytes, cache_bytes = sum(one.n_bytes for one in checked), sum(one.cache_bytes for one in checked)
    if is_url(out_folder):
        return True, f"Disk: about {_size(out_bytes)} for the videos in {shown(out_folder)}."
    here, there = _existing(Path(out_folder)), _existing(cache.folder)
    needs = {here: out_bytes, there: cache_bytes}
    if os.stat(here).st_dev == os.stat(there).st_dev:
        needs = {here: out_bytes + cache_bytes}
    short = [folder for folder, n_bytes in needs.items() if shutil.disk_usage(folder).free < n_bytes]
    free = " and ".join(f"{_size(shutil.disk_usage(folder).free)} free on the disk of {folder}" for folder in needs)
    verdict = (
        f" That is not enough: free some room, or choose another folder for {' and '.join(map(str, short))}."
        if short
        else ""
    )
    return (
        not short,
        f"Disk: about {_size(out_bytes)} for the videos and {_size(cache_bytes)} for analyses; {free}.{verdict}",
    )


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


def _shown(head: str, reasons: list[str]) -> list[str]:
    more = [f"... and {len(reasons) - _MOST_SHOWN} more."] if len(reasons) > _MOST_SHOWN else []
    return [f"{head}: {reason}" for reason in reasons[:_MOST_SHOWN]] + more


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if n_bytes >= 10 or unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"
