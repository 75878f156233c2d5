"""A quick look at a target before dubbing: what is there to work with, and a verdict in one sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lipsync.config.schema import DubConfig
from lipsync.core.lips import uncrossed
from lipsync.core.progress import Hook, silent
from lipsync.core.timebase import nominal_rate
from lipsync.core.track import eye_distance_px
from lipsync.core.types import REASONS, TargetAnalysis
from lipsync.learning.adaptation import Expectation, expectation
from lipsync.learning.lip_examples import examples_of
from lipsync.render.doubt import known_mouths, safe_share
from lipsync.speech.lip_model import LipModel
from lipsync.speech.prior import prior_for
from lipsync.store.cache import Cache
from lipsync.target.analyse import analyse
from lipsync.target.rest import resting_lips, voiced_frames

_TYPICAL_COMPONENTS = 6  # of the lip model, that typical mouths are made of
_SHAPE_RADIUS = 0.02  # lips nearer than this (mean over points, eye distances) count as one shape


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What a target offers. usable_share: of frames; unusable: {reason: frames}; eye_distance_px: median; mouth_shapes:
    different ones (0.02 eye distances apart); sharpness: median variance of the Laplacian around the lips; speech_s:
    seconds of speech with usable lips, None without a sound track; safe_share: of typical mouths of speech, those near
    enough to the target's own to be drawn without doubt, None without a lip model to start from; lips: how well that
    model's follow that speech."""

    path: str
    duration_s: float
    frames: int
    rate: float
    width: int
    height: int
    people: int
    shots: int
    usable_share: float
    unusable: dict[str, int]
    eye_distance_px: float
    mouth_shapes: int
    sharpness: float
    speech_s: float | None
    safe_share: float | None
    lips: Expectation | None
    verdict: str

    def to_plain(self) -> dict:
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person to read; the verdict last."""
        why = ", ".join(f"{n} {reason}" for reason, n in self.unusable.items())
        return [
            f"{self.path}: {self.width}x{self.height}, {self.frames} frames at {self.rate:.3f}/s, "
            f"{self.duration_s:.1f} s, shots: {self.shots}",
            f"faces: {self.people}; usable frames: {100 * self.usable_share:.1f} %" + (f" (not: {why})" if why else ""),
            f"eye distance: {self.eye_distance_px:.0f} px; different mouth shapes: {self.mouth_shapes}; sharpness: "
            f"{self.sharpness:.0f}{self._safe()}",
            self._speech(),
            self.verdict,
        ]

    def _speech(self) -> str:
        if self.speech_s is None:
            return "no sound track"
        return f"speech with usable lips: {self.speech_s:.1f} s{self._lips()}"

    def _safe(self) -> str:
        if self.safe_share is None:
            return ""
        return f"; of typical mouths of speech it can show {100 * self.safe_share:.0f} % without doubt"

    def _lips(self) -> str:
        """How well they follow it."""
        if self.lips is None:
            return ""
        lips = self.lips
        return (
            f"; its opening follows with r {lips.r:.2f} ({lips.r_low:.2f} to {lips.r_high:.2f}) and "
            f"{100 * lips.closures:.0f} % of its closures before anything is learnt (encoder {lips.encoder})"
        )


def inspect_target(
    target: str | Path, config: DubConfig = DubConfig(), cache: Cache | None = None, hook: Hook = silent
) -> TargetReport:
    """What `target` offers. Raises as `analyse` does. What is computed here is kept for the dub."""
    cache = cache or Cache.of(config.cache)
    subject = analyse(Path(target), config, cache, hook)
    film, track = subject.films[0], subject.track
    counts = np.bincount(track.reason, minlength=len(REASONS))
    voiced = voiced_frames(film, cache) & track.valid
    speech_s = float(voiced.sum() / film.video.clock.rate) if film.stream.has_audio else None
    prior = prior_for(config.lips)
    found = {
        "usable_share": float(track.valid.mean()),
        "eye_distance_px": eye_distance_px(track),
        "mouth_shapes": count_shapes(track.lips.points[track.valid]),
        "speech_s": speech_s,
        "safe_share": None if prior is None else safe_of(subject, prior),
    }
    return TargetReport(
        path=str(target),
        duration_s=float(film.stream.clock.duration_s),
        frames=len(track),
        rate=float(nominal_rate(film.stream.clock)),
        width=film.stream.width,
        height=film.stream.height,
        people=film.people,
        shots=int(track.shot.max()) + 1,
        unusable={REASONS[i]: int(counts[i]) for i in range(1, len(REASONS)) if counts[i]},
        sharpness=float(np.median(subject.bank.sharpness)),
        lips=None if prior is None else _expected(subject, prior, cache),
        verdict=_verdict(**found),
        **found,
    )


def safe_of(subject: TargetAnalysis, prior: LipModel) -> float:
    """Share of typical mouths that this person's own can show (`lipsync.render.doubt.safe_share`)."""
    bank, rate = subject.bank, float(nominal_rate(subject.video.clock))
    return round(safe_share(known_mouths(bank, rate), typical_lips(prior, bank.lips)), 3)


def typical_lips(prior: LipModel, own: np.ndarray, n: int = 300) -> np.ndarray:
    """(n,18,2) lips that move about the middle of a person's (K,18,2) own as those of anybody who speaks: drawn from
    the normal distribution of the prior's leading components, always the same."""
    basis, rng = prior.basis, np.random.default_rng(0)
    k = min(_TYPICAL_COMPONENTS, len(basis.spread))
    moves = rng.normal(size=(n, k)).clip(-2, 2) * basis.spread[:k]
    return uncrossed((own.mean(0) + prior.gain * np.tensordot(moves, basis.components[:k], 1)).astype(np.float32))


def _expected(subject: TargetAnalysis, prior: LipModel, cache: Cache) -> Expectation | None:
    examples, _ = examples_of(subject.films)
    return expectation(prior, examples, resting_lips(subject.films[0], cache)) if examples else None


def count_shapes(lips: np.ndarray, radius: float = _SHAPE_RADIUS) -> int:
    """How many of (N,18,2) lips it takes so that every other one is within `radius` of one of them (greedy, mean
    distance over points)."""
    left, count = lips, 0
    while len(left):
        far = np.linalg.norm(left - left[0], axis=2).mean(1) > radius
        left, count = left[far], count + 1
    return count


def _verdict(
    usable_share: float, eye_distance_px: float, mouth_shapes: int, speech_s: float | None, safe_share: float | None
) -> str:
    troubles = []
    if usable_share < 0.8:
        troubles.append(f"{100 * (1 - usable_share):.0f} % of its frames will pass through unchanged")
    if eye_distance_px < 35:
        troubles.append("the face is small")
    if mouth_shapes < 15:
        troubles.append(f"it shows only {mouth_shapes} different mouth shapes")
    if safe_share is not None and safe_share < 0.6:
        troubles.append(f"{100 * (1 - safe_share):.0f} % of typical mouths are unlike any of its own")
    if speech_s is None:
        troubles.append("it has no sound track to learn its own lips from")
    elif speech_s < 20:
        troubles.append(f"{speech_s:.0f} s of speech are little to learn lips from")
    if not troubles:
        return "Verdict: good material for a dub."
    return f"Verdict: usable with limits: {'; '.join(troubles)}." + (
        " More --footage of the same person helps."
        if mouth_shapes < 15 or speech_s is None or speech_s < 20 or (safe_share or 1) < 0.6
        else ""
    )
