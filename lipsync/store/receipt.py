"""The receipt of a dub: what was made from what, how, how long it took, and what was left as it was. Written beside the
output as JSON."""

from __future__ import annotations

import functools
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lipsync
from lipsync.core.progress import Hook, expect, note, whole
from lipsync.core.text import few_spans, percent, readable
from lipsync.core.types import REASONS, DubPlan, FaceTrack
from lipsync.store.preflight import written_whole

if TYPE_CHECKING:
    from pydantic import TypeAdapter

#: Begins the comment in every video's metadata.
MADE_BY = "AI-edited by lipsync"
#: Larger files are no receipts.
LARGEST_BYTES = 64 << 20
_PACKAGES = ("torch", "numpy", "opencv-contrib-python", "mediapipe", "av")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A video that was read. path: as given, or an address."""

    path: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class SpeechFile(InputFile):
    """What was said. tempo: how much faster than it was recorded."""

    duration_s: float = 0.0
    tempo: float = 1.0


@dataclass(frozen=True, slots=True)
class SaidSegment:
    """A stretch of the target, what was said there, and by whom: a person as `face.index` counts, None = the one that
    the options chose."""

    start_s: float = 0.0
    end_s: float = 0.0
    person: int | None = None
    speech: SpeechFile = SpeechFile()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a dub was made from. segments: where only parts of the target were dubbed; lips_from: the film whose lips
    are shown; mix: what is heard instead of the speech; background: what is heard under it, path "original" = the
    target's own sound."""

    target: InputFile = InputFile()
    speech: SpeechFile = SpeechFile()
    footage: list[InputFile] = field(default_factory=list[InputFile])
    segments: list[SaidSegment] = field(default_factory=list[SaidSegment])
    lips_from: InputFile = InputFile()
    mix: InputFile = InputFile()
    background: InputFile = InputFile()


@dataclass(frozen=True, slots=True)
class SpeakerFacts:
    """One person who was dubbed. person: as in `SaidSegment`; spans: [from, to] in seconds; rendered_share: of their
    rows; lips: of the lip model's training; texture: the method, and what it learned; mouths: in the bank. opening: the
    wanted gap between the lips at every output row, eye distances, None where nothing of theirs was drawn; closed_gap:
    lips nearer than this are closed; closures: [from, to] seconds in which they are to meet while the voice sounds, as
    for p, b and m."""

    person: int | None = None
    spans: list[list[float]] = field(default_factory=list[list[float]])
    rendered_share: float = 0.0
    lips: dict[str, Any] = field(default_factory=dict[str, Any])
    texture: dict[str, Any] = field(default_factory=dict[str, Any])
    mouths: int = 0
    opening: list[float | None] = field(default_factory=list[float | None])
    closed_gap: float = 0.0
    closures: list[list[float]] = field(default_factory=list[list[float]])


@dataclass(frozen=True, slots=True)
class Output:
    """The video. rate: frames a second, a fraction as text, the usual one where it varies; bytes: its size;
    speech: "copied", "encoded" or "none"."""

    path: str = ""
    frames: int = 0
    duration_s: float = 0.0
    rate: str = ""
    bytes: int = 0
    speech: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Retiming:
    """What choosing other frames gained. timeline: "keep" or "retime"; pause_motion, pause_motion_without: how much the
    head moves in pauses, and would if the target were played as it is; seeks: output rows; half_steps: rows between two
    frames."""

    timeline: str = ""
    pause_motion: float = 0.0
    pause_motion_without: float = 0.0
    seeks: list[int] = field(default_factory=list[int])
    half_steps: int = 0
    picture: str = ""


@dataclass(frozen=True, slots=True)
class PlannedRows:
    """By output row: the target's frame, and 1 where the row lies halfway to the next."""

    source: list[int] = field(default_factory=list[int])
    half: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class Span:
    """Output rows shown unchanged, first and last, and why."""

    from_row: int = 0
    to_row: int = 0
    from_s: float = 0.0
    to_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DoubtfulSpan(Span):
    """Output rows that may look wrong; reason: the main one. value: the highest score."""

    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """How far the dub is to be doubted. curve: score in [0,1] of every output row, two digits, 0 where it passed
    through; limit: above it a row is told of; share: of rows above it; spans: the worst of them."""

    limit: float = 0.0
    share: float = 0.0
    spans: list[DoubtfulSpan] = field(default_factory=list[DoubtfulSpan])
    curve: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, slots=True)
class Marks:
    """What says in and beside the video that it was made by a machine. written: of "watermark", "tags",
    "XMP", "content credentials", "AIGC label", "badge"; watermark: the content's id (hex) that the drawn mouths hold,
    empty = none; without: they were turned off; signer: whose name signed the content
    credentials; sidecar: the file beside the video that holds them, empty = they are within; consent: who agreed, as
    "text", or as the "file" and its "sha256"."""

    written: list[str] = field(default_factory=list[str])
    watermark: str = ""
    without: bool = False
    signer: str = ""
    sidecar: str = ""
    consent: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Receipt:
    """Exactly what the JSON file holds, in its order. id: of what it is made from; made_by: versions;
    ai_edited: the label, empty where nothing was changed; changed: [from, to] seconds in which a mouth was drawn;
    people: how many are seen in the target; resting: those whose lips were drawn at rest while others speak;
    rendered_share: of the rows that were to be dubbed; details: what the user need not know; seconds: by step.

    A section that a file of another version lacks is empty."""

    id: str = ""
    made_by: dict[str, str] = field(default_factory=dict[str, str])
    ai_edited: str = ""
    changed: list[list[float]] = field(default_factory=list[list[float]])
    inputs: Inputs = field(default_factory=Inputs)
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    output: Output = Output()
    marks: Marks = field(default_factory=Marks)
    people: int = 0
    speakers: list[SpeakerFacts] = field(default_factory=list[SpeakerFacts])
    resting: list[int] = field(default_factory=list[int])
    retiming: Retiming = field(default_factory=Retiming)
    plan: PlannedRows = field(default_factory=PlannedRows)
    rendered_share: float = 0.0
    passed_through: list[Span] = field(default_factory=list[Span])
    doubt: Doubt = field(default_factory=Doubt)
    notes: list[str] = field(default_factory=list[str])
    details: list[str] = field(default_factory=list[str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def from_json(cls, content: str | bytes) -> Receipt | None:
        """The receipt in a file's content; None: damaged, or something else."""
        from pydantic import ValidationError

        try:
            return _reader().validate_json(content, strict=True)
        except (ValidationError, UnicodeEncodeError):
            return None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Receipt | None:
        """The receipt that `to_plain` gave; None: something else."""
        try:
            return cls.from_json(json.dumps(plain))
        except (TypeError, ValueError, RecursionError):
            return None

    @classmethod
    def read(cls, path: str | Path) -> Receipt | None:
        """The receipt in a file; None: there is none, or it is damaged."""
        try:
            if Path(path).stat().st_size > LARGEST_BYTES:
                return None
            return cls.from_json(Path(path).read_bytes())
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return None

    def to_plain(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON in any encoding."""
        return readable(asdict(self))

    def summary(self, verbose: bool = False) -> list[str]:
        """A few lines for a person. verbose: the details too."""
        out = self.output
        return [
            f"{out.path}: {out.frames} frames, {out.duration_s:.2f} s, {percent(self.rendered_share)} dubbed, "
            f"speech {out.speech}, rendered in {self.seconds['total']:.0f} s.",
            *([f"Picture: {self.retiming.picture}."] if self.retiming.picture else []),
            *_of_people(self),
            *_of_all_lips(self.speakers),
            *_of_marks(self.marks),
            *(f"Passed through unchanged: {s.from_s:.2f}-{s.to_s:.2f} s ({s.reason})." for s in self.passed_through),
            *_of_doubt(self.doubt),
            *(f"Note: {note}" for note in (*self.notes, *(self.details if verbose else ()))),
        ]

    def save(self, path: Path) -> None:
        """Writes the JSON file under a temporary name, then renames it."""
        with written_whole(path) as part:
            part.write_text(json.dumps(self.to_plain(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@functools.cache
def _reader() -> TypeAdapter[Receipt]:
    from pydantic import TypeAdapter

    return TypeAdapter(Receipt)


class Stopwatch:
    """A hook that passes every call on and counts the seconds of each step; `seconds` holds them by step name, and
    "total"."""

    def __init__(self, hook: Hook) -> None:
        self._hook, self._start = hook, time.perf_counter()
        self._last, self._steps = self._start, {}

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self._steps[step] = self._steps.get(step, 0.0) + now - self._last
        self._last = now
        self._hook(step, done, total)

    def note(self, text: str) -> None:
        note(self._hook, text)

    def expect(self, seconds: float) -> None:
        expect(self._hook, seconds)

    def whole(self, share: float, left_s: float | None) -> None:
        whole(self._hook, share, left_s)

    @property
    def seconds(self) -> dict[str, float]:
        return {name: round(s, 3) for name, s in (self._steps | {"total": time.perf_counter() - self._start}).items()}


def spans_passed_through(plan: DubPlan, track: FaceTrack, spoken: np.ndarray) -> list[Span]:
    """Runs of output rows shown unchanged, of those that were to be dubbed: (N,) bool `spoken`."""
    reason = np.maximum(track.reason[plan.source], track.reason[plan.source + plan.half])
    state = np.where(plan.render | ~spoken[: len(plan)], 0, reason)
    edges = np.flatnonzero(np.diff(state, prepend=0, append=0))
    ends = np.append(plan.clock.seconds, float(plan.clock.duration_s))
    return [
        Span(
            int(start),
            int(stop) - 1,
            round(float(ends[start]), 3),
            round(float(ends[stop]), 3),
            REASONS[state[start]],
        )
        for start, stop in pairwise([*edges, len(state)])
        if start < len(state) and state[start]
    ]


def merged_doubt(doubts: Sequence[Doubt], spans: int) -> Doubt:
    """The doubt of several people in one film. spans: at most so many are kept, the worst."""
    if len(doubts) == 1:
        return doubts[0]
    curve, limit = np.max([one.curve for one in doubts], axis=0), doubts[0].limit
    worst = sorted((span for one in doubts for span in one.spans), key=lambda span: -span.value)[:spans]
    worst.sort(key=lambda span: span.from_row)
    return Doubt(limit, round(float((curve > limit).mean()), 3), worst, curve.tolist())


def versions() -> dict[str, str]:
    """This program, Python and the packages that shape the result."""
    found = {"lipsync": own_version(), "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def own_version() -> str:
    """Of this program."""
    return lipsync.__version__


def _of_people(receipt: Receipt) -> list[str]:
    """Who was dubbed, where, and who else was seen; nothing of a receipt that does not say."""
    known = [one for one in receipt.speakers if one.person is not None and one.spans]
    if not known or not receipt.people:
        return []
    if receipt.people == 1:
        return [f"Dubbed: the only person seen, {few_spans(known[0].spans)}."]
    told = "; ".join(f"face {one.person}, {few_spans(one.spans)}" for one in known)
    speak = {one.person for one in known}
    others = [str(i) for i in range(receipt.people) if i not in speak and i not in receipt.resting]
    kept = f" Seen too, with their mouths as they were: face {', '.join(others)}." if others else ""
    rest = f" At rest meanwhile: face {', '.join(map(str, receipt.resting))}." if receipt.resting else ""
    return [f"Dubbed: {told}.{kept}{rest}"]


def _of_all_lips(speakers: Sequence[SpeakerFacts]) -> list[str]:
    """A line for each speaker's lips, or one for those that are alike."""
    faces: dict[str, list[str]] = {}
    for one in speakers:
        faces.setdefault(_of_lips(one.lips), []).append(str(one.person))
    return list(faces) if len(faces) < 2 else [f"Face {', '.join(who)}: {text}" for text, who in faces.items()]


def _of_lips(lips: Mapping[str, Any]) -> str:
    """Where the lips come from, and how good they are where that could be measured."""
    source = {
        "prior": "the bundled model in this person's style",
        "performance": "the film of --lips-from, in this person's range",
        "prior and own speech": "the bundled model and the person's own speech",
    }
    text = "Lips from " + source.get(lips.get("lips_from", ""), "the person's own speech")
    if "lmd" not in lips:
        return f"{text}; not measured on this person."
    span = f" ({lips['opening_r_low']:.2f} to {lips['opening_r_high']:.2f})" if "opening_r_low" in lips else ""
    met = f", {100 * lips['closures']:.0f} % of the closures met" if "closures" in lips else ""
    return (
        f"{text}; on held-out speech: error {lips['lmd']:.4f} eye distances, "
        f"opening r {lips['opening_r']:.2f}{span}, articulation {lips['articulation']:.2f}{met}."
    )


def _of_marks(marks: Marks) -> list[str]:
    """One line on how the video says what it is."""
    signed = f"signed by {marks.signer}" if marks.signer else "not signed (no sign.certificate is given)"
    return [f"Marked as AI-edited: {', '.join(marks.written)}; {signed}."] if marks.written else []


def _of_doubt(doubt: Doubt) -> list[str]:
    """One line where there are doubtful spans."""
    if not doubt.spans:
        return []
    worst = max(doubt.spans, key=lambda span: span.value)
    return [
        f"Look at {100 * doubt.share:.0f} % of the frames: doubtful most at {worst.from_s:.2f}-{worst.to_s:.2f} s "
        f"({worst.reason}; score {worst.value:.2f}); the receipt lists {len(doubt.spans)} "
        f"{'span' if len(doubt.spans) == 1 else 'spans'}."
    ]
