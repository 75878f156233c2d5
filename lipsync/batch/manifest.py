"""A list of jobs from a manifest (lipsync/batch/readers.py) or from patterns of file names. docs/batch.md describes the
formats.

More special wins: defaults, --config, --set and named options, [defaults] of the manifest, the job's own keys.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lipsync.batch.job import Job
from lipsync.batch.parts import files_of, parts_of, sources_of
from lipsync.batch.readers import (
    KEYS,
    Entry,
    manifest_text,
    matching_files,
    one_line,
    pairs_by_name,
    read_csv,
    read_json_lines,
    read_toml,
    refuse_unknown,
    sentence_of,
    stem_of,
)
from lipsync.batch.storage.address import is_url, redacted
from lipsync.config.load import Text, from_plain, load, overrides, validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.provenance.consent import names_file

MAX_JOBS = 1_000_000
#: Options that name a file to read, unless they hold one of the words beside them.
PATH_OPTIONS = {
    "texture_weights": (), "lips.model": (), "lips.prior": ("bundled", "none"), "face.dlib_predictor": (),
    "mark.badge_font": (),
}  # fmt: skip
#: Sections that the jobs of a batch share, and which are for the command line.
SHARED = ("cache", "sandbox", "sign")
#: How a manifest is read, by its ending.
READERS = {".toml": read_toml, ".csv": read_csv, ".jsonl": read_json_lines, ".ndjson": read_json_lines}
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

    config, settings, named: as for `config.load.load`, for all jobs; root: every file that the manifest names must lie
    in this folder. UsageError, with the place, for a file that is no manifest or has no jobs; LipsyncError for wrong
    options."""
    file = Path(file)
    load(config, settings, named)  # a wrong option of the command line is not every job's fault
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise UsageError(
            f"The format of the manifest {file} is not clear from its ending. Name it .toml, .csv or .jsonl."
        )
    defaults, entries = reader(manifest_text(file), file)
    if not entries:
        raise UsageError(f"The manifest {file} has no jobs. Give every job a target and a speech.")
    paths = _PathRules(file.absolute().parent, _folder(root))
    builder = _JobBuilder(overrides(config, settings, named), defaults, paths, file)
    return _each_its_own_out([builder.job(entry) for entry in entries])


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
    videos, voices = matching_files(targets, "--targets"), matching_files(speech, "--speech")
    if pairs == "cross" and len(videos) * len(voices) > MAX_JOBS:
        raise UsageError(
            f"{len(videos)} targets with {len(voices)} speech files are more than {MAX_JOBS} jobs. Split the batch."
        )
    if pairs == "cross":
        chosen = [(video, voice, _default_out(video, voice)) for video in videos for voice in voices]
    elif pairs == "name":
        chosen = list(pairs_by_name(videos, voices))
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
class _PathRules:
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
                    f"{key} {redacted(text)} is an address; with --root only files in {self.root} may be named."
                )
            return text
        path = os.path.join(self.folder, text)
        if self.root and not _within(os.path.realpath(path), self.root):
            raise UsageError(f"{key} {text} lies outside {self.root} (--root).")
        return path


class _JobBuilder:
    """Makes jobs of what a manifest asks for. Equal configurations are one object: there may be 100,000 jobs."""

    def __init__(self, base: dict, defaults: dict, path_rules: _PathRules, file: Path) -> None:
        self._path_rules, self._defaults = path_rules, {key: value for key, value in defaults.items() if key in KEYS}
        self._made: dict[str, DubConfig | str] = {}
        self._configs: dict[DubConfig, DubConfig] = {}
        self._paths: dict[str, str] = {}
        self._base = base
        try:
            if "out" in defaults:
                raise UsageError("out is each job's own: two jobs cannot write one file.")
            refuse_unknown(defaults)
            self._base = self._overlaid(_options_of(defaults))
            self._plain = self._interned(validate(from_plain(self._base)))
        except (LipsyncError, RecursionError) as error:
            raise UsageError(one_line(f"{file}, [defaults]: {sentence_of(error)}")) from error

    def job(self, entry: Entry) -> Job:
        """The job; what is wrong with it becomes its fault, and what could be read is kept."""
        values, fault = self._defaults | entry.values, entry.fault
        got: dict = {"target": "", "speech": "", "out": "", "config": self._plain}
        try:
            if fault:
                raise UsageError(fault)
            refuse_unknown(values)
            got["target"] = self._file(values, "target")
            got["parts"] = parts_of(values, self._path)
            got["sources"] = sources_of(values, self._path)
            if values.get("speech") or not (got["parts"].segments or got["sources"].lips_from):
                got["speech"] = self._file(values, "speech")
            if self._path_rules.root:
                for name in files_of(got["parts"]):
                    self._path(name, "speech of segments")
            got["footage"] = tuple(self._path(name, "footage") for name in _names(values.get("footage")))
            said = got["speech"] or got["sources"].lips_from
            got["out"] = _out(values["out"] if values.get("out") is not None else _default_out(got["target"], said))
            got["config"] = self._config(_options_of(values))
        except (LipsyncError, RecursionError) as error:
            fault = one_line(f"{entry.line}: {sentence_of(error)}")
        return Job(**got, line=entry.line, fault=fault)

    def _file(self, values: dict, key: str) -> str:
        value = values.get(key)
        if value is None or value == "":
            raise UsageError(f"The {key} is missing.")
        if not isinstance(value, str):
            raise UsageError(f"{key} must be the name of a file.")
        return self._path(value, key)

    def _path(self, text: str, key: str) -> str:
        if text not in self._paths:
            self._paths[text] = self._path_rules.path(str(text), key)
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
            (_at(tree, "mark.badge_font"), "mark.badge_font"),
        ):
            if self._path_rules.root and named:  # code, limits, and files that others read without our checks
                raise UsageError(f"With --root a manifest may not set {option}: give it on the command line.")
        consent = _at(tree, "mark.consent")
        more = [("texture", own_code), ("mark.consent", isinstance(consent, str) and names_file(consent))]
        for name, words in [*PATH_OPTIONS.items(), *((name, ()) for name, is_file in more if is_file)]:
            value = _at(tree, name)
            if isinstance(value, str) and value and value not in words:
                _lay(tree, _nested({name: self._path(value, name)}))
        return _lay(_copy(self._base), tree)


def _options_of(values: Mapping[str, object]) -> dict[str, object]:
    """The keys of the configuration among those of a job, by their names there."""
    own = {key: value for key, value in values.items() if key not in KEYS}
    if values.get("background_db") not in (None, ""):
        if "sound.background_db" in own:
            raise UsageError("'sound.background_db' is given twice, once as background_db.")
        own["sound.background_db"] = values["background_db"]
    return own


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
    if max(len(os.fsencode(part)) for part in parts) > MAX_NAME_BYTES or len(os.fsencode(value)) > 1000:
        raise UsageError(f"out is too long: a name may have {MAX_NAME_BYTES} bytes. Give the job a shorter out.")
    return "/".join(parts)


def _default_out(target: str, speech: str) -> str:
    return f"{stem_of(target)}-{stem_of(speech) if speech else 'dubbed'}.mp4"


def _each_its_own_out(jobs: Iterable[Job]) -> list[Job]:
    """The jobs; one whose output is, also on a disk that ignores case, an earlier job's output or folder gets a
    fault."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    checked = []
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
        checked.append(job)
    return checked


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


def _folder(root: str | Path | None) -> str:
    if root is None:
        return ""
    if not os.path.isdir(root):
        raise UsageError(f"--root {root} is not a folder.")
    return os.path.realpath(root)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _refuse_odd_characters(text: str, key: str) -> None:
    if re.search("[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]", text):  # U+DC80.. is a byte of a name not in UTF-8
        cure = "Write a path with slashes, or in TOML in single quotes; else rename the file."
        raise UsageError(f"{key} {text[:80]!r} holds control characters, or is not UTF-8. {cure}")


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


def _copy(value: Any) -> Any:
    """`value` with dictionaries of its own."""
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _at(tree: Mapping[str, object], name: str) -> object:
    """The value of "section.key", or None."""
    value: object = tree
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
