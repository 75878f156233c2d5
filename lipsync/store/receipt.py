"""The receipt of a dub: what was made from what, how, how long it took, and what was left as it was. Written beside the
output as JSON."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import lipsync
from lipsync.core.progress import Hook, note
from lipsync.core.types import REASONS, DubPlan, FaceTrack
from lipsync.store.preflight import written_whole

#: Begins the comment in every video's metadata.
MADE_BY = "AI-edited by lipsync"
_PACKAGES = ("torch", "numpy", "opencv-contrib-python", "mediapipe", "av")


@dataclass(frozen=True, slots=True)
class Receipt:
    """facts: plain nested values, exactly what the JSON file holds."""

    facts: dict

    def to_plain(self) -> dict:
        return self.facts

    def summary(self) -> list[str]:
        """A few lines for a person."""
        out, lips, timing = self.facts["output"], self.facts["lips"], self.facts["seconds"]
        lines = [
            f"{out['path']}: {out['frames']} frames, {out['duration_s']:.2f} s, speech {out['speech']}, rendered in "
            f"{timing['total']:.0f} s."
        ]
        lines.append(_of_lips(lips))
        for span in self.facts["passed_through"]:
            lines.append(f"Passed through unchanged: {span['from_s']:.2f}-{span['to_s']:.2f} s ({span['reason']}).")
        return lines + [f"Note: {note}" for note in self.facts["notes"]]

    def save(self, path: Path) -> None:
        """Writes the JSON file under a temporary name, then renames it."""
        with written_whole(path) as part:
            part.write_text(json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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

    @property
    def seconds(self) -> dict[str, float]:
        return {name: round(s, 3) for name, s in (self._steps | {"total": time.perf_counter() - self._start}).items()}


def spans_passed_through(plan: DubPlan, track: FaceTrack) -> list[dict]:
    """Runs of output rows shown unchanged: first and last row, seconds, and the reason."""
    reason = np.maximum(track.reason[plan.source], track.reason[plan.source + plan.half])
    state = np.where(plan.render, 0, reason)
    edges = np.flatnonzero(np.diff(state, prepend=0, append=0))
    ends = np.append(plan.clock.seconds, float(plan.clock.duration_s))
    spans = []
    for start, stop in zip(edges, np.append(edges[1:], len(state)), strict=False):
        if start < len(state) and state[start]:
            spans.append(
                {
                    "from_row": int(start),
                    "to_row": int(stop) - 1,
                    "from_s": round(float(ends[start]), 3),
                    "to_s": round(float(ends[stop]), 3),
                    "reason": REASONS[state[start]],
                }
            )
    return spans


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


def _of_lips(lips: dict) -> str:
    """Where the lips come from, and how good they are where that could be measured."""
    source = {
        "prior": "the bundled model in this person's style",
        "prior and own speech": "the bundled model and the person's own speech",
    }
    text = "Lips from " + source.get(lips.get("lips_from"), "the person's own speech")
    if "lmd" not in lips:
        return f"{text}; not measured on this person."
    return (
        f"{text}; on held-out speech: error {lips['lmd']:.4f} eye distances, opening r {lips['opening_r']:.2f}, "
        f"articulation {lips['articulation']:.2f}."
    )
