"""A list of jobs from a manifest (TOML, CSV or JSON Lines) or from patterns of file names. docs/batch.md describes the
formats.

More special wins: defaults, --config, --set and named options, [defaults] of the manifest, the job's own keys.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from lipsync.batch.job import Job
from lipsync.batch.storage.store import is_url, shown
from lipsync.config.load import Text, from_plain, load, option_names, overrides, validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.text import nearest

MAX_BYTES = 64 << 20
MAX_JOBS = 1_000_000
#: The keys of a job beside those of the configuration.
KEYS = ("target", "speech", "out", "footage")
#: Options that name a file to read, unless they hold one of the words beside them.
PATH_OPTIONS = {
    "texture_weights": (), "lips.model": (), "lips.prior": ("bundled", "none"), "face.dlib_predictor": (),
}  # fmt: skip
#: Sections that the jobs of a batch share, and which are for the command line.
SHARED = ("cache", "sandbox")
#: Longer names of a file leave no room for the receipt's and the hidden part's.
MAX_NAME_BYTES = 200


def read_manifest(
    file: str | Path,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    named: Mapping[str, object] | None = None,
    *,
    root: str | Path | None = None,
) -> list[Job]:
    """The jobs that a manifest asks for, in its order; what is wrong with one job alone becomes its `fault`.

    config, settings, named: as for config_file.load, for all jobs; root: every file that the manifest names must lie in
    this folder. UsageError, with the place, for a file that is no manifest or has no jobs; LipsyncError for wrong
    options."""
    file = Path(file)
    load(config, settings, named)  # a wrong option of the command line is not every job's fault
    reader = {".toml": _toml_jobs, ".csv": _csv_jobs, ".jsonl": _json_jobs, ".ndjson": _json_jobs}.get(
        file.suffix.lower()
    )
    if reader is None:
        raise UsageError(
            f"The format of the manifest {file} is not clear from its ending. Name it .toml, .csv or .jsonl."
        )
    defaults, asked = reader(_text(file), file)
    if not asked:
        raise UsageError(f"The manifest {file} has no jobs. Give every job a target and a speech.")
    place = _Place(file.absolute().parent, _folder(root))
    maker = _Maker(overrides(config, settings, named), defaults, place, file)
    return _each_its_own_out([maker.job(*one) for one in asked])


def jobs_from_globs(
    targets: str,
    speech: str,
    pairs: str = "cross",
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    named: Mapping[str, object] | None = None,
) -> list[Job]:
    """Every target with every speech ("cross": out is {target stem}-{speech stem}.mp4), or those that share a stem
    ("name": {stem}.mp4).

    targets, speech: patterns with *, ?, [] and **; a file without its like in "name" is a job with a fault. UsageError:
    nothing matches."""
    options = load(config, settings, named)
    videos, voices = _matches(targets, "--targets"), _matches(speech, "--speech")
    if pairs == "cross" and len(videos) * len(voices) > MAX_JOBS:
        raise UsageError(
            f"{len(videos)} targets with {len(voices)} speech files are more than {MAX_JOBS} jobs. Split the batch."
        )
    if pairs == "cross":
        chosen = [(video, voice, _default_out(video, voice)) for video in videos for voice in voices]
    elif pairs == "name":
        chosen = list(_paired(videos, voices))
    else:
        raise UsageError(f"--pairs must be cross or name, not {pairs!r}.")
    return _each_its_own_out([_globbed(video, voice, out, options) for video, voice, out in chosen])


def out_path(folder: str | Path, out: str) -> Path:
    """`out` of a job as a file in the batch's folder. UsageError where a link on the way leads out of that folder."""
    path = Path(folder) / _out(out)
    inside = os.path.realpath(folder)
    if not _within(os.path.realpath(path.parent), inside) or (
        path.is_symlink() and not _within(os.path.realpath(path), inside)
    ):
        raise UsageError(f"The output {out} leads, through a link, out of the folder {folder}. Choose another out.")
    return path


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a manifest's relative paths begin, and the folder, links resolved, that they must lie in ("" =
    anywhere)."""

    folder: Path
    root: str

    def path(self, text: str, key: str) -> str:
        """`text` of a manifest as an absolute path or a URL. UsageError: no name of a file, or outside the root."""
        _refuse_odd_characters(text, key)
        if is_url(text):
            if self.root:
                raise UsageError(
                    f"{key} {shown(text)} is an address; with --root only files in {self.root} may be named."
                )
            return text
        path = os.path.join(self.folder, text)
        if self.root and not _within(os.path.realpath(path), self.root):
            raise UsageError(f"{key} {text} lies outside {self.root} (--root).")
        return path


class _Maker:
    """Makes jobs of what a manifest asks for. Equal configurations are one object: there may be 100,000 jobs."""

    def __init__(self, base: dict, defaults: dict, place: _Place, file: Path) -> None:
        self._place, self._defaults = place, {key: value for key, value in defaults.items() if key in KEYS}
        self._made: dict[str, DubConfig | str] = {}
        self._configs: dict[DubConfig, DubConfig] = {}
        self._paths: dict[str, str] = {}
        self._base = base
        try:
            if "out" in defaults:
                raise UsageError("out is each job's own: two jobs cannot write one file.")
            _refuse_unknown(defaults)
            self._base = self._overlaid({key: value for key, value in defaults.items() if key not in KEYS})
            self._plain = self._interned(validate(from_plain(self._base)))
        except (LipsyncError, RecursionError) as error:
            raise UsageError(one_line(f"{file}, [defaults]: {_sentence(error)}")) from error

    def job(self, line: str, values: dict, fault: str = "") -> Job:
        """The job; what is wrong with it becomes its fault, and what could be read is kept."""
        values = self._defaults | values
        got: dict = {"target": "", "speech": "", "out": "", "config": self._plain}
        try:
            if fault:
                raise UsageError(fault)
            _refuse_unknown(values)
            got["target"], got["speech"] = self._file(values, "target"), self._file(values, "speech")
            got["footage"] = tuple(self._path(name, "footage") for name in _names(values.get("footage")))
            got["out"] = _out(
                values["out"] if values.get("out") is not None else _default_out(got["target"], got["speech"])
            )
            got["config"] = self._config({key: value for key, value in values.items() if key not in KEYS})
        except (LipsyncError, RecursionError) as error:
            fault = one_line(f"{line}: {_sentence(error)}")
        return Job(**got, line=line, fault=fault)

    def _file(self, values: dict, key: str) -> str:
        value = values.get(key)
        if value is None or value == "":
            raise UsageError(f"The {key} is missing.")
        if not isinstance(value, str):
            raise UsageError(f"{key} must be the name of a file.")
        return self._path(value, key)

    def _path(self, text: str, key: str) -> str:
        if text not in self._paths:
            self._paths[text] = self._place.path(str(text), key)
        return self._paths[text]

    def _config(self, own: dict) -> DubConfig:
        """The configuration with a job's own keys, or UsageError."""
        if not own:
            return self._plain
        try:
            key = repr(own)
        except ValueError:  # a number too long to print
            return self._resolved(own)
        if key not in self._made:
            try:
                self._made[key] = self._interned(self._resolved(own))
            except LipsyncError as error:
                self._made[key] = str(error)
        made = self._made[key]
        if isinstance(made, str):
            raise UsageError(made)
        return made

    def _resolved(self, own: dict) -> DubConfig:
        return validate(from_plain(self._overlaid(own)))

    def _interned(self, config: DubConfig) -> DubConfig:
        return self._configs.setdefault(config, config)

    def _overlaid(self, own: dict) -> dict:
        """The tree of all jobs with a manifest's keys laid over it; its paths absolute, and allowed."""
        tree = _nested(own)
        for name in SHARED:
            if name in tree:
                raise UsageError(f"{name}.* is set for the whole batch: give it on the command line.")
        texture = _at(tree, "texture")
        own_code = isinstance(texture, str) and texture.endswith(".py")
        for named, option in (
            (own_code, "texture = FILE.py"),
            ("limits" in tree, "limits.*"),
            (_at(tree, "face.dlib_predictor"), "face.dlib_predictor"),
        ):
            if self._place.root and named:  # code, limits, and a file that dlib reads without our checks
                raise UsageError(f"With --root a manifest may not set {option}: give it on the command line.")
        for name, words in [*PATH_OPTIONS.items(), *([("texture", ())] if own_code else [])]:
            value = _at(tree, name)
            if isinstance(value, str) and value and value not in words:
                _lay(tree, _nested({name: self._path(value, name)}))
        return _lay(_copy(self._base), tree)


def _toml_jobs(text: str, file: Path) -> tuple[dict, list[tuple]]:
    """([defaults], (line, values) of every [[job]])."""
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(one_line(f"The manifest {file} is not TOML: {_sentence(error)}.")) from error
    for name in tree:
        if name not in ("job", "defaults"):
            near = "Did you mean [[job]]? " if name == "jobs" else ""
            raise UsageError(
                one_line(
                    f"Unknown key {name!r} in the manifest {file}. {near}It has a table [defaults] and a table [[job]] "
                    "per job."
                )
            )
    jobs, defaults = tree.get("job", []), tree.get("defaults", {})
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs) or not isinstance(defaults, dict):
        raise UsageError(f"In the manifest {file} every job is a table [[job]], and [defaults] is one table.")
    heads = [n for n, line in enumerate(text.split("\n"), 1) if re.match(r"\s*\[\[\s*[\"']?job[\"']?\s*\]\]", line)]
    where = [f"line {n}" for n in heads] if len(heads) == len(jobs) else [f"job {n}" for n in range(1, len(jobs) + 1)]
    return defaults, [(f"{file.name}, {at}", job) for at, job in zip(where, jobs, strict=True)]


def _csv_jobs(text: str, file: Path) -> tuple[dict, list[tuple]]:
    """({}, (line, values, fault) of every row); the first row names the columns."""
    rows, asked, at = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True), [], 1
    try:
        names = [name.strip() for name in next(rows, [])]
        _check_columns(names, file)
        while True:
            at = rows.line_num + 1
            row = next(rows, None)
            if row is None:
                return {}, asked
            cells = [cell.strip() for cell in row]
            if any(cells):
                fault = (
                    f"This row has {len(cells)} cells, more than the {len(names)} columns. Quote cells that hold a "
                    "comma."
                    if any(cells[len(names) :])
                    else ""
                )
                asked.append(
                    (
                        f"{file.name}, line {at}",
                        {name: Text(cell) for name, cell in zip(names, cells, strict=False) if cell},
                        fault,
                    )
                )
    except csv.Error as error:
        raise UsageError(f"{file}, line {at}: this is not CSV: {error}.") from error


def _check_columns(names: list[str], file: Path) -> None:
    """UsageError where the head of a CSV file cannot be."""
    for name in ("target", "speech"):
        if name not in names:
            cure = "Its columns are separated by commas, and the first row names them, such as target,speech,out."
            raise UsageError(f"The manifest {file} has no column {name}. {cure}")
    twice = next((name for name in names if names.count(name) > 1), None) if len(names) <= 1000 else "of over 1000"
    if twice is not None:
        raise UsageError(one_line(f"The manifest {file} has the column {twice!r} twice. Leave one out."))
    try:
        _refuse_unknown(names)
    except UsageError as error:
        raise UsageError(one_line(f"{file}, line 1: {error}")) from error


def _json_jobs(text: str, file: Path) -> tuple[dict, list[tuple]]:
    """({}, (line, values, fault) of every line that is not blank)."""
    asked = []
    for n, line in enumerate(text.split("\n"), 1):  # splitlines would also split inside JSON's own text
        if not line.strip():
            continue
        values, fault = {}, ""
        try:
            values = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            fault = f"This line is not JSON: {_sentence(error)}."
        if not isinstance(values, dict):
            values, fault = {}, 'A job is an object, such as {"target": "a.mp4", "speech": "b.wav"}.'
        asked.append((f"{file.name}, line {n}", values, fault))
    if asked and all(fault for *_, fault in asked):
        raise UsageError(one_line(f"The manifest {file} is not JSON Lines: {asked[0][0]}: {asked[0][2]}"))
    return {}, asked


def _once(pairs: list[tuple[str, object]]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _text(file: Path) -> str:
    """What a manifest holds, or UsageError."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The manifest {file} cannot be read: {getattr(error, 'strerror', None) or error}. Check the name."
        ) from error
    if len(raw) > MAX_BYTES:
        raise UsageError(f"The manifest {file} is larger than {MAX_BYTES >> 20} MiB. Split it.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}, line {line}: this is not UTF-8 text. Save the manifest as UTF-8.") from error
    if not text.strip():
        raise UsageError(f"The manifest {file} is empty. Give every job a target and a speech.")
    return text


def _refuse_unknown(keys: Iterable[str]) -> None:
    for key in keys:
        if key not in KEYS and key not in option_names():
            raise UsageError(_unknown(key))


@lru_cache(1000)
def _unknown(key: str) -> str:
    return f"Unknown key {key[:80]!r}. {nearest(key, [*KEYS, *option_names()])}"


def _names(value: object) -> Sequence[str]:
    """The names of files in a value of footage."""
    if value is None:
        return ()
    if isinstance(value, Text):
        return [name.strip() for name in value.split(";") if name.strip()]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UsageError("footage must be the name of a file, or a list of them.")
    return names


def _out(value: object) -> str:
    """The name of an output, as it is used: relative, with forward slashes. UsageError where it cannot be."""
    if not isinstance(value, str) or not value:
        raise UsageError("out must be the name of a file.")
    _refuse_odd_characters(value, "out")
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or is_url(value) or "\\" in value or ".." in parts:
        raise UsageError(
            f"out {value!r} must be a name within the batch's folder: relative, with forward slashes, without '..'."
        )
    if not parts or value.endswith(("/", "/.")):
        raise UsageError(f"out {value!r} is a folder. Name the file to write, for example dubbed.mp4.")
    if max(len(part.encode()) for part in parts) > MAX_NAME_BYTES or len(value.encode()) > 1000:
        raise UsageError(f"out is too long: a name may have {MAX_NAME_BYTES} bytes. Give the job a shorter out.")
    return "/".join(parts)


def _default_out(target: str, speech: str) -> str:
    return f"{_stem(target)}-{_stem(speech)}.mp4"


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(re.split("[?#]", name)[0] if is_url(name) else name))[0]


def _each_its_own_out(jobs: Iterable[Job]) -> list[Job]:
    """The jobs; one whose output is, also on a disk that ignores case, an earlier job's output or folder gets a
    fault."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    told = []
    for job in jobs:
        if job.out:
            name = unicodedata.normalize("NFC", job.out).casefold()
            above = ["/".join(name.split("/")[:n]) for n in range(1, name.count("/") + 1)]
            other = next((files[key] for key in (name, *above) if key in files), None) or folders.get(name)
            if not other:
                for key, lines in ((name, files), *((key, folders) for key in above)):
                    lines.setdefault(key, job.line)
            elif not job.fault:
                job = replace(
                    job,
                    fault=one_line(f"{job.line}: out {job.out!r} is taken by {other}. Give one of them another out."),
                )
        told.append(job)
    return told


def _globbed(video: str, voice: str, out: str, options: DubConfig) -> Job:
    fault = ""
    line = " with ".join(os.path.relpath(name) for name in (video, voice) if name and not is_url(name)) or video
    try:
        if not video or not voice:
            raise UsageError(
                f"No {'speech file' if video else 'target'} has this name. Rename one, or leave out --pairs name."
            )
        for key, name in (("target", video), ("speech", voice)):
            _refuse_odd_characters(name, key)
        out = _out(out)
    except UsageError as error:
        fault = one_line(f"{line}: {error}")
        out = ""
    return Job(video, voice, out, config=options, line=one_line(line), fault=fault)


def _paired(videos: Sequence[str], voices: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(target, speech, out) by equal stems; a file without its like comes alone."""
    of_stem: dict[str, list[str]] = {}
    for voice in voices:
        of_stem.setdefault(_stem(voice), []).append(voice)
    for video in videos:
        for voice in of_stem.get(_stem(video), [""]):
            yield video, voice, f"{_stem(video)}.mp4"
    known = set(map(_stem, videos))
    yield from (("", voice, "") for voice in voices if _stem(voice) not in known)


def _matches(pattern: str, option: str) -> list[str]:
    """The files that a pattern means, absolute, in order. UsageError: none."""
    if is_url(pattern):
        if glob.has_magic(pattern):
            raise UsageError(
                f"{option} {pattern}: patterns work on local files only. Name URLs one by one in a manifest."
            )
        return [pattern]
    pattern = os.path.expanduser(pattern)
    found = (
        [pattern]
        if os.path.isfile(pattern)
        else sorted(name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
    )
    if not found:
        raise UsageError(f"No file matches {option} {pattern!r}. Quote the pattern, and check the folder.")
    return [os.path.abspath(name) for name in found]


def _folder(root: str | Path | None) -> str:
    if root is None:
        return ""
    if not os.path.isdir(root):
        raise UsageError(f"--root {root} is not a folder.")
    return os.path.realpath(root)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _refuse_odd_characters(text: str, key: str) -> None:
    if re.search("[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise UsageError(f"{key} {text[:80]!r} holds control characters, or is not UTF-8. Rename the file.")


def _nested(own: Mapping[str, object]) -> dict:
    """Keys with dots become tables in tables. UsageError: one option twice."""
    tree: dict = {}
    for key, value in own.items():
        *path, last = key.split(".")
        value = {last: _copy(value)}
        for part in reversed(path):
            value = {part: value}
        _lay(tree, value, "", twice=False)
    return tree


def _lay(tree: dict, over: Mapping[str, object], prefix: str = "", twice: bool = True) -> dict:
    """`tree`, now with the values of `over`. twice: a value of the tree may be replaced; else that is a UsageError."""
    for key, value in over.items():
        there = tree.get(key, {} if isinstance(value, dict) else None)
        if isinstance(there, dict) != isinstance(value, dict):
            raise UsageError(f"{prefix + key!r} is both a section and an option.")
        if isinstance(value, dict):
            tree[key] = _lay(there, value, f"{prefix}{key}.", twice)
        elif key in tree and not twice:
            raise UsageError(f"{prefix + key!r} is given twice.")
        else:
            tree[key] = value
    return tree


def _copy(value: object) -> object:
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _at(tree: Mapping[str, object], name: str) -> object:
    """The value of "section.key", or None."""
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _sentence(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the values are nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return str(error)


def one_line(text: str) -> str:
    """A message safe to print: no line breaks, no control or direction characters, not endless."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:1000])
    return text if len(text) <= 500 else f"{text[:497]}..."
