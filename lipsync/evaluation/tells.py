"""The tells that a careful viewer looks for in a talking face, each measured against the person's own real frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

#: Raise whenever `Audit.as_json` changes its form.
FORMAT = 1
Verdict = Literal["pass", "look", "bad", "not measured"]


@dataclass(frozen=True, slots=True)
class Moment:
    """From `start` to `end`, seconds: where a tell is seen most, with its value there. person: who, as `Audit.people`
    has it; empty: nobody's own."""

    start: float
    end: float
    value: float
    person: str = ""


@dataclass(frozen=True, slots=True)
class Tell:
    """One tell. name: for machines; title: for people; value: the worst measured, None where nothing could be; usual:
    the range of real frames; unit: of both; says: one plain sentence; moments: the worst, in order of value."""

    name: str
    title: str
    verdict: Verdict
    value: float | None
    usual: tuple[float, float] | None
    unit: str
    says: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """All tells of a video. people: who was seen, from the left; duration: seconds; limits: what this cannot know, in
    sentences."""

    tells: tuple[Tell, ...]
    people: tuple[str, ...]
    duration: float
    limits: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        return {"version": FORMAT, **asdict(self)}
