"""Which lips a person gets: learnt from their own speech where sound and lips belong together, else the prior's in this
person's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from audio.load import Waveform
from lipsync.config.schema import LipsConfig
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, opening
from lipsync.core.progress import Hook, silent
from lipsync.core.types import LipTrack
from lipsync.learning.lip_examples import LipExample, LipRows, lip_rows
from lipsync.learning.lips import LEAST_SPEECH_S, train_lip_model
from lipsync.metrics.lips import closure_shares, opening_r, opening_r_interval
from lipsync.speech.lip_model import LipModel

#: Sound and lips belong together if the opening follows the prior's this well while somebody speaks (right sound of
#: unknown people: mostly above 0.6; another recording's: about 0).
TOGETHER_R = 0.35
#: Sound may be this late or early in each recording; by at least SHIFT_S it is put right, if the lips then follow it
#: better by SURELY_R. How much the lag of all recordings together counts beside a recording's own.
MOST_LAG_S, SHIFT_S, SURELY_R, ALIKE = 0.4, 0.04, 0.03, 0.5
#: A lag that the user is told of.
NOTICED_S = 0.08
#: How far from the prior a person's movement may go, and how many frames of movement are believed half.
LEAST_STYLE, MOST_STYLE, HALF_BELIEVED = 0.6, 1.7, 150
#: How many rows (10 ms) of speech with visible lips tell half of a person's mean shape.
MEAN_HALF_BELIEVED = 30
#: Lips that spread less than this in opening (eye distances) do not speak.
STILL = 0.012


def adapt_lip_model(
    examples: Sequence[LipExample],
    visible: Sequence[LipTrack],
    rest: np.ndarray,
    config: LipsConfig,
    prior: LipModel | None,
    hook: Hook = silent,
    device: torch.device | str = "cpu",
) -> LipModel:
    """The model of one person. examples: speech with its lips, may be none; visible: all lips ever seen; rest: (18,2)
    their resting lips.

    Without a prior, everything is learnt from the examples. The report says what was done: `lips_from` "own speech",
    "prior and own speech" or "prior"; why, in `warning`. LipsyncError: no prior, and nothing to learn from."""
    if prior is None:
        model = train_lip_model(examples, config, hook, device)
        model.report["lips_from"] = "own speech"
        return model
    rows = [lip_rows([example], prior.encoder) for example in examples]
    speech_s = float(sum((r.valid & r.voiced).sum() for r in rows) / 100)
    match = matching(prior.retarget(rest), rows)
    if speech_s < LEAST_SPEECH_S or match.r < TOGETHER_R:
        return _in_style(prior, visible, rows, rest, speech_s, match)
    examples = [replace(e, wave=shifted(e.wave, lag)) for e, lag in zip(examples, match.lags_s, strict=True)]
    model = train_lip_model(examples, config, hook, device, prior=prior)
    model.report |= {"lips_from": "prior and own speech", "sound_r": round(match.r, 3), "sound_lag_s": match.lag_s}
    if abs(match.lag_s) >= NOTICED_S:
        late = f"{abs(match.lag_s):.2f} s {'behind' if match.lag_s > 0 else 'ahead of'}"
        model.report["warning"] = f"The target's sound is {late} its lips; that was put right for learning."
    return model


def _in_style(
    prior: LipModel,
    visible: Sequence[LipTrack],
    recordings: Sequence[LipRows],
    rest: np.ndarray,
    speech_s: float,
    match: Match,
) -> LipModel:
    """The prior with this person's rest, reach and mean shape; the report says why nothing was learnt."""
    style = style_of(prior, visible, rest)
    model = prior.retarget(rest, style)
    model = model.with_mean_moved(mean_difference(model, recordings))
    model.report = {f"prior_{name}": value for name, value in prior.report.items()} | {
        "lips_from": "prior",
        "network": prior.network,
        "style": round(float(style.mean()), 3),
        "speech_minutes": speech_s / 60,
        "sound_r": round(match.r, 3),
        "warning": _why(speech_s, match, bool(recordings)),
    }
    return model


def _why(speech_s: float, match: Match, has_sound: bool) -> str:
    advice = (
        "Lips come from the bundled prior, fitted to this person's mouth; "
        "--footage with their own speech would be better."
    )
    if not has_sound:
        return f"The target has no sound track to learn its own lips from. {advice}"
    if speech_s < LEAST_SPEECH_S:
        return f"The target has {speech_s:.1f} s of speech with visible lips, too little to learn from. {advice}"
    return (
        f"The target's lips do not follow its sound (correlation {match.r:.2f}): "
        f"another voice, music, or out of sync. {advice}"
    )


@dataclass(frozen=True, slots=True)
class Match:
    """How well lips follow sound. r: correlation of the opening with the prior's, while somebody speaks, mean over the
    recordings by their length; lags_s: how late the sound of each is."""

    r: float
    lags_s: tuple[float, ...] = ()

    @property
    def lag_s(self) -> float:
        """The middle one, rounded; 0 where there is none."""
        return round(float(np.median(self.lags_s)), 2) if self.lags_s else 0.0


def matching(prior: LipModel, recordings: Sequence[LipRows]) -> Match:
    """Of all lags up to MOST_LAG_S, the best of each recording; 0 unless another is surely better. Recordings of one
    person tend to be alike, so short ones lean on all together."""
    return _matched([opening(prior.predict_rows(rows.features)) for rows in recordings], recordings)


def _matched(predicted: Sequence[np.ndarray], recordings: Sequence[LipRows]) -> Match:
    """The same for predicted openings (R,) of each recording."""
    limit = round(MOST_LAG_S * 100)
    lags, none = np.arange(-limit, limit + 1, 2), limit // 2
    speech = np.array([(rows.valid & rows.voiced).sum() for rows in recordings], float)
    if not speech.sum():
        return Match(0.0, (0.0,) * len(recordings))
    pairs = zip(predicted, recordings, strict=True)
    r = np.array([_r_at_all(said, rows, lags) for said, rows in pairs])
    together = speech @ r / speech.sum()
    leaning = r + ALIKE * together
    best = np.where(speech > 0, leaning.argmax(1), none)
    gained = leaning[np.arange(len(r)), best] - leaning[:, none]
    late = (np.abs(lags[best]) >= round(SHIFT_S * 100)) & (gained > SURELY_R * (1 + ALIKE))
    chosen = np.where(late, best, none)
    mean = float(speech @ r[np.arange(len(r)), chosen] / speech.sum())
    return Match(mean, tuple(float(lag) / 100 for lag in lags[chosen]))


def _r_at_all(predicted: np.ndarray, rows: LipRows, lags: np.ndarray) -> np.ndarray:
    """(L,) correlation at each lag (rows)."""
    real, use = opening(rows.points), rows.valid & rows.voiced
    return np.array([_r_at(predicted, real, use, rows.fold, int(lag)) for lag in lags])


def _r_at(predicted: np.ndarray, real: np.ndarray, use: np.ndarray, fold: np.ndarray, lag: int) -> float:
    """Correlation when the sound is `lag` rows late, over rows of one stretch."""
    now = np.arange(len(real))
    then = np.clip(now + lag, 0, len(real) - 1)
    both = use & (fold[then] == fold)
    if both.sum() < 50 or real[both].std() < 1e-4 or predicted[then[both]].std() < 1e-6:
        return 0.0
    return float(np.corrcoef(real[both], predicted[then[both]])[0, 1])


@dataclass(frozen=True, slots=True)
class Expectation:
    """How well lips will follow, as far as a target's own speech tells before anything is learnt from it: r of the
    opening with its 95 % interval, shares of closures met and false (metrics/lips.py)."""

    encoder: str
    r: float
    r_low: float
    r_high: float
    closures: float
    false_closures: float
    lag_s: float


def expectation(prior: LipModel, examples: Sequence[LipExample], rest: np.ndarray) -> Expectation | None:
    """What the prior makes of the examples, each at its own lag; None: too little speech with visible lips."""
    rows = [lip_rows([example], prior.encoder) for example in examples]
    own = prior.retarget(rest)
    predicted = [opening(own.predict_rows(one.features)) for one in rows]
    match, ours, real = _matched(predicted, rows), [], []
    for said, one, lag in zip(predicted, rows, match.lags_s, strict=True):
        now = np.flatnonzero(one.valid & one.voiced)
        then = now + round(lag * 100)
        kept = (then >= 0) & (then < len(one.points))
        ours.append(said[then[kept]])
        real.append(opening(one.points)[now[kept]])
    if sum(map(len, real)) < LEAST_SPEECH_S * 100:
        return None
    ours, real = np.concatenate(ours), np.concatenate(real)
    numbers = (opening_r(ours, real), *opening_r_interval(ours, real), *closure_shares(ours, real), match.lag_s)
    return Expectation(prior.encoder.name, *(round(float(number), 3) for number in numbers))


def shifted(wave: Waveform, late_s: float) -> Waveform:
    """The sound played `late_s` earlier, as long as before."""
    n = round(late_s * wave.rate)
    samples = wave.samples
    early, late = max(n, 0), max(-n, 0)
    moved = torch.nn.functional.pad(samples[early : len(samples) - late], (late, early))
    return replace(wave, samples=moved)


def mean_difference(model: LipModel, recordings: Sequence[LipRows]) -> np.ndarray:
    """(18,2) how far this person's mean lips lie from the model's over the same sound, with equally parted inner edges,
    so that what closes still closes; 0 without sound, and little after a few frames.

    At rest alone nobody shows how wide a mouth speaks: a target that never pauses has a closure for a rest."""
    missing, n_frames = np.zeros((18, 2)), 0.0
    for rows in recordings:
        use = rows.valid & rows.voiced
        if use.any():
            missing += (rows.points[use] - model.predict_rows(rows.features)[use]).sum(0)
            n_frames += use.sum()
    if not n_frames:
        return missing.astype(np.float32)
    missing /= n_frames
    wider = opening(missing) / 2
    missing[UPPER_INNER, 1] += wider
    missing[LOWER_INNER, 1] -= wider
    return (missing * n_frames / (n_frames + MEAN_HALF_BELIEVED)).astype(np.float32)


def style_of(prior: LipModel, visible: Sequence[LipTrack], rest: np.ndarray) -> np.ndarray:
    """(18,2) how far each coordinate of this person's lips moves relative to the prior's; 1 where the lips were hardly
    seen to move."""
    points = np.concatenate([track.points[track.valid] for track in visible] or [np.zeros((0, 18, 2))])
    moving = points[opening(points) > opening(rest) + STILL] if len(points) else points
    if len(moving) < 10 or opening(points).std() < STILL:
        return np.ones((18, 2), np.float32)
    spread = np.sqrt((prior.basis.components**2 * (prior.basis.spread**2)[:, None, None]).sum(0)) * prior.report.get(
        "reach", 1.0
    )
    ratio = np.clip(points.std(0) / np.maximum(spread, 1e-4), LEAST_STYLE, MOST_STYLE)
    ratio = np.where(spread > 0.05 * spread.max(), ratio, 1.0)
    trust = len(moving) / (len(moving) + HALF_BELIEVED)
    return np.exp(trust * np.log(ratio)).astype(np.float32)
