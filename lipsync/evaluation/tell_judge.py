"""From what was measured of one person to how strongly each tell is seen, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from lipsync.core.arrays import Array, runs_of
from lipsync.core.geometry import apply, magnification
from lipsync.core.lips import CLOSED_GAP, opening
from lipsync.core.types import REASONS, FaceTrack
from lipsync.evaluation import tell_lips
from lipsync.evaluation.tell_lips import Heard, Shown, Stretch
from lipsync.evaluation.tell_pictures import Pictures, ovals

#: Length of the windows in which pictures are judged, and how often one begins (seconds).
WINDOW_S, EVERY_S = 1.0, 0.5
#: Real mouths and faces: sharpness of the mouth over the face's (its logarithm), change of what is between moving lips
#: over the cheeks'. Of a target, its own are taken instead.
SHARPNESS, TEETH = 0.0, 5.0
#: Lips are still and open: change of the opening a frame, and the opening (eye distances).
_STILL, _OPEN = 0.004, 0.035
#: The softest windows of a target are so many times softer than what is called usual, at most.
_BLUR_VARIES = 1.25
#: Steadier than this the skin is never called (grey levels); openings change by so much a frame while teeth are asked
#: to move, and at least so many frames of a window must tell of them; grey levels of spread below which nothing is
#: seen between the lips.
_STEADY, _MOVES, _TELLING, _PLAIN = 0.3, 0.006, 6, 6.0
#: What is wrong with lips is a tear where it spreads less than this across the mouth (standard deviation, of its
#: width), in at least this share of a window's frames.
_NARROW, _TORN_SHARE = 0.245, 0.3
#: By how much more unlike lips must be that are compared with a few seconds of the same video, not with a target.
_ALONE = 1.5
#: Ovals outside of the lips, half width and height; and sizes beside one to which its step is compared.
_BEYOND_LIPS, _BESIDE = (0.4, 0.28), (3, 5)
#: Where a collar is, face frame.
BELOW_CHIN = 0.8
#: A collar is dragged where its movement goes with the opening's at least so well.
_FOLLOWS = 0.45
#: Fewest closures that must be asked for.
_FEWEST_CLOSURES = 4
#: How sure a shift must be.
_SURE = 0.15


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of tell. look, bad: limits of its value, which grows with the fault; wrong: what is to be seen."""

    name: str
    title: str
    unit: str
    look: float
    bad: float
    wrong: str
    fine: str


#: The limits were chosen on real video and planted defects of benchmarks/tells.py, split `choose`.
KINDS = (
    Kind("blur", "mouth blurred", "times softer", 1.5, 1.9, "The mouth is softer than the rest of the face.",
         "The mouth is as sharp as the rest of the face."),
    Kind("flicker", "flicker", "times the cheeks'", 2.8, 4.5, "The skin around the mouth flickers.",
         "The skin around the mouth is as steady as the cheeks."),
    Kind("tone", "skin tone steps at an edge", "grey levels", 9.0, 16.0,
         "The skin changes colour along an edge around the mouth.", "No edge is to be seen around the mouth."),
    Kind("ghost", "double lips or edges", "of the limit", 0.9, 1.3, "Lips or edges are seen twice.",
         "The lips look like this person's own."),
    Kind("torn", "torn lip", "of the limit", 1.2, 2.0, "A lip is torn or out of place.",
         "The lips are whole."),
    Kind("teeth", "teeth stand still", "times stiller", 2.3, 3.0,
         "What is seen between the lips stays the same while the mouth moves.", "Teeth move as real ones do."),
    Kind(
        "restless",
        "teeth change, lips still",
        "times the cheeks'",
        30.0,
        60.0,
        "What is seen between the lips changes while they are still.",
        "Teeth are steady while the lips are still.",
    ),
    Kind("covered", "something painted over", "s", 0.2, 0.5,
         "A mouth is drawn where a hand or an object hides it.", "No mouth is drawn over a hand or an object."),
    Kind("silence", "mouth moves in silence", "eye distances", 0.018, 0.04, "The mouth moves while nobody speaks.",
         "The mouth rests in silence."),
    Kind("frozen", "mouth still in speech", "times stiller", 2.5, 5.0, "The mouth hardly moves while somebody speaks.",
         "The mouth moves as the speech asks."),
    Kind("closures", "lips stay open on p, b, m", "of them", 0.6, 0.8, "Lips do not close where the sound asks for it.",
         "The lips close where the sound asks for it."),
    Kind("sync", "sound and lips out of step", "s", 0.075, 0.15, "Sound and lips are out of step.",
         "Sound and lips are in step."),
    Kind("dragged", "collar moves with the jaw", "of the opening", 0.35, 0.6,
         "What lies under the chin moves with the mouth.", "What lies under the chin stays in place."),
)  # fmt: skip
_LOOK = {kind.name: kind.look for kind in KINDS}
#: What is not told where another fault is seen.
_EXPLAINS = {
    "blur": ("ghost", "torn", "teeth"),
    "tone": ("ghost", "torn"),
    "torn": ("ghost",),
    "frozen": ("teeth", "closures"),
    "flicker": ("restless",),
    "sync": ("closures",),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one person. only: (T,) bool, the frames that are judged; own, own_track: the same person in the
    target; beneath: (T,) the target's frame under each; closures: (from, to) seconds in which the lips were to meet,
    None: not known."""

    track: FaceTrack
    seconds: Array
    rate: float
    pictures: Pictures
    only: Array
    own: Pictures | None = None
    own_track: FaceTrack | None = None
    beneath: Array | None = None
    closures: Sequence[tuple[float, float]] | None = None


#: (start, end, value), seconds.
Found = list[tuple[float, float, float]]


def judge(seen: Seen, heard: Heard | None, speaks: Array | None) -> dict[str, Found | None]:
    """By tell, how strongly it is seen when; None: it could not be measured. Where one fault explains another, only the
    first is told."""
    found: dict[str, Found | None] = {"blur": blur(seen), "flicker": flicker(seen), "tone": tone(seen)}
    found |= lips_against_sound(seen, heard, speaks)
    found["covered"], found["dragged"], found["teeth"] = covered(seen), dragged(seen), teeth(seen)
    found["restless"] = restless(seen)
    found["ghost"], found["torn"] = unlike(seen)
    for fault, hidden in _EXPLAINS.items():
        for name in hidden:
            found[name] = _apart(found[name], found[fault], _LOOK[fault])
    return found


def _apart(found: Found | None, fault: Found | None, limit: float) -> Found | None:
    """What is found where the fault is not."""
    wrong = [one for one in fault or () if abs(one[2]) >= limit]
    return [one for one in found or () if not any(one[0] < w[1] and w[0] < one[1] for w in wrong)] or None


def windows(seen: Seen, value: Callable[[slice], float], length_s: float = WINDOW_S) -> Found | None:
    """value of the frames of each window in which it is a number; None where it never is."""
    n, length = len(seen.track), max(2, round(length_s * seen.rate))
    ends = np.append(seen.seconds, seen.seconds[-1] + 1 / seen.rate)
    out: Found = []
    for at in range(0, max(1, n - length // 2), max(1, round(EVERY_S * seen.rate))):
        rows = slice(at, min(n, at + length))
        if seen.only[rows].any() and np.isfinite(v := value(rows)):
            out.append((float(ends[rows.start]), float(ends[rows.stop]), float(v)))
    return out or None


def _softness(pictures: Pictures) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.log(pictures.sharpness[:, 0] / pictures.sharpness[:, 1])


def blur(seen: Seen) -> Found | None:
    """Times softer than usual the mouth's edges are, beside the eyes'. What the target's own softest windows exceed its
    median by is usual, too."""
    usual = -SHARPNESS
    if seen.own is not None and seen.own_track is not None:
        soft, n = _softness(seen.own), max(2, round(WINDOW_S * seen.rate))
        own = [_median(soft[at : at + n]) for at in range(0, max(1, len(soft) - n // 2), max(1, n // 2))]
        usual = max(_median(soft), float(np.nanmax(own)) - np.log(_BLUR_VARIES)) if np.isfinite(own).any() else usual
    soft = np.where(seen.only, _softness(seen.pictures), np.nan)
    return windows(seen, lambda rows: np.exp(_median(soft[rows]) - usual))


def _jumps(track: FaceTrack, pictures: Pictures) -> Array:
    """(T,2) by how much each frame's levels differ from the mean of the frames beside it."""
    out, level = np.full(pictures.level.shape, np.nan), pictures.level
    out[1:-1] = level[1:-1] - (level[2:] + level[:-2]) / 2
    out[1:-1][track.shot[2:] != track.shot[:-2]] = np.nan
    return out


def flicker(seen: Seen) -> Found | None:
    """Times more than the cheeks' the level of the skin around the mouth jumps."""
    jumps = np.where(seen.only[:, None], _jumps(seen.track, seen.pictures), np.nan)

    def value(rows: slice) -> float:
        if np.isfinite(jumps[rows]).all(1).sum() < _TELLING:
            return np.nan
        mouth, cheeks = np.sqrt(np.nanmean(jumps[rows] ** 2, axis=0)) + _STEADY
        return mouth / cheeks

    return windows(seen, value)


def tone(seen: Seen) -> Found | None:
    """Grey levels by which the colour steps more than the target's at an edge around the mouth, in three of four
    directions. Without a target this is not told: light and shade on real faces make steps as large."""
    if seen.own is None:
        return None
    pictures, usual = seen.pictures, _mean(seen.own.steps.astype(np.float64), slice(None))

    def value(rows: slice) -> float:
        first, last = np.searchsorted(pictures.starts, [rows.start, rows.stop - 1], side="right") - 1
        steps = _mean(pictures.steps.astype(np.float64), slice(first, last + 1)) - usual
        return edge_step(steps) if np.isfinite(steps).all() else np.nan

    return windows(seen, value)


def _mean(steps: Array, blocks: slice) -> Array:
    known = steps[blocks][np.isfinite(steps[blocks]).all((1, 2, 3))]
    return known.mean(0) if len(known) else np.full(steps.shape[1:], np.nan)


def edge_step(steps: Array) -> float:
    """Of (ovals, sectors, 3) steps: how far the one of some oval stands out from those of smaller and larger ones, in
    the same direction of colour in three quarters of the sectors."""
    shapes, best = np.array(ovals()), 0.0
    kind = np.round(shapes[:, 1] / shapes[:, 0], 3)
    for k, (width, height) in enumerate(shapes):
        like = np.flatnonzero(kind == kind[k])
        away = np.abs(like - k)
        beside = like[(away >= _BESIDE[0]) & (away <= _BESIDE[1])]
        if width < _BEYOND_LIPS[0] or height < _BEYOND_LIPS[1] or not len(beside):
            continue
        more = steps[k] - steps[beside].mean(0)
        middle = np.median(more, axis=0)
        along = more @ (middle / max(float(np.linalg.norm(middle)), 1e-6))
        best = max(best, float(np.quantile(along, 0.25)))
    return best


def unlike(seen: Seen) -> tuple[Found | None, Found | None]:
    """How unlike the person's real lips these are: all over (ghost), and in one place (torn)."""
    how, spread = np.where(seen.only[:, None], seen.pictures.unlike, np.nan).T
    how = how if seen.own is not None else how / _ALONE
    torn = spread < _NARROW

    def ghost_of(rows: slice) -> float:
        return _median(np.where(torn, 0, how)[rows]) if np.isfinite(how[rows]).any() else np.nan

    def torn_of(rows: slice) -> float:
        known = np.where(torn, how, 0)[rows][np.isfinite(how[rows])]
        return float(np.quantile(known, 1 - _TORN_SHARE)) if len(known) else np.nan

    return windows(seen, ghost_of), windows(seen, torn_of)


def _teeth_change(track: FaceTrack, pictures: Pictures) -> Array:
    """(T,) change of what is between moving lips over the cheeks'; NaN where that says nothing."""
    gap, inner = opening(track.lips.points), pictures.inner
    moving = uniform_filter1d(np.abs(np.diff(gap, prepend=gap[:1])), 5) > _MOVES
    with np.errstate(invalid="ignore"):
        telling = moving & (inner[:, 2] > _PLAIN)
        return np.where(telling, inner[:, 0] / np.maximum(inner[:, 3], _STEADY), np.nan)


def teeth(seen: Seen) -> Found | None:
    """Times less than usual what is between the lips changes while they move."""
    change, usual = np.where(seen.only, _teeth_change(seen.track, seen.pictures), np.nan), TEETH
    if seen.own is not None and seen.own_track is not None:
        own = _teeth_change(seen.own_track, seen.own)
        usual = min(TEETH, _median(own)) if np.isfinite(own).sum() >= 20 else TEETH

    def value(rows: slice) -> float:
        if np.isfinite(change[rows]).sum() < _TELLING:
            return np.nan
        return usual / max(_median(change[rows]), 0.1)

    return windows(seen, value)


def restless(seen: Seen) -> Found | None:
    """Times more than the cheeks what is between open lips changes while they are still."""
    gap, inner = opening(seen.track.lips.points), seen.pictures.inner
    still = (uniform_filter1d(np.abs(np.diff(gap, prepend=gap[:1])), 5) < _STILL) & (gap > _OPEN)
    with np.errstate(invalid="ignore"):
        telling = still & (inner[:, 2] > _PLAIN) & seen.only
        change = np.where(telling, inner[:, 1] / np.maximum(inner[:, 3], _STEADY), np.nan)

    def value(rows: slice) -> float:
        return _median(change[rows]) if np.isfinite(change[rows]).sum() >= _TELLING else np.nan

    return windows(seen, value)


def covered(seen: Seen) -> Found | None:
    """Seconds in which the target's mouth is hidden and this one is not."""
    if seen.own_track is None or seen.beneath is None:
        return None
    hidden = np.isin(seen.own_track.reason, [REASONS.index("covered"), REASONS.index("behind a graphic")])
    over = hidden[seen.beneath] & seen.track.valid & seen.only
    ends = np.append(seen.seconds, seen.seconds[-1] + 1 / seen.rate)
    runs = [(float(ends[a]), float(ends[b])) for a, b in runs_of(over)]
    return [(a, b, b - a) for a, b in runs] or [(0.0, 0.0, 0.0)]


def dragged(seen: Seen) -> Found | None:
    """By how much of the opening's movement what lies under the chin goes with it, in the picture: beside a head that
    nods, a collar that stays where it is seems to move."""
    known = np.isfinite(seen.pictures.under[:, 0]) & seen.only
    place = seen.track.pixel_from_face
    chin = apply(place, np.array([[0.0, BELOW_CHIN]]))[:, 0, 1] / magnification(place)
    moved = seen.pictures.under[:, 0] + np.diff(chin, prepend=chin[:1])
    at = _quick(np.cumsum(np.where(known, moved, 0)), seen.rate)
    gap = _quick(opening(seen.track.lips.points).astype(float), seen.rate)

    def value(rows: slice) -> float:
        use = known[rows]
        if use.sum() < seen.rate / 2:
            return np.nan
        a, b = gap[rows][use], at[rows][use]
        a, b = a - a.mean(), b - b.mean()
        if a.std() < _MOVES:
            return np.nan
        r = float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))
        return max(0.0, float((a * b).sum() / (a * a).sum())) if r >= _FOLLOWS else 0.0

    return windows(seen, value, 2 * WINDOW_S)


def _quick(values: Array, rate: float) -> Array:
    """Without what is slower than speech."""
    return values - gaussian_filter1d(values, tell_lips.SLOW_S / 2 * rate, mode="nearest")


def lips_against_sound(seen: Seen, heard: Heard | None, speaks: Array | None) -> dict[str, Found | None]:
    """The tells that need sound: mouth moving in silence, still in speech, open on p, b and m, sound out of step."""
    names = ("silence", "frozen", "closures", "sync")
    if heard is None or speaks is None:
        return dict.fromkeys(names)
    n = len(heard.voice)
    shown = Shown.of(seen.track, n)
    judged = np.interp(np.arange(n) / tell_lips.RATE, seen.seconds, seen.only.astype(float)) > 0.5
    shown = Shown(shown.opening, shown.width, shown.valid & judged)
    own = Heard(heard.opening, heard.width, heard.voice & speaks)
    still = tell_lips.still_speech(shown, own)
    shifts = [s for s, sure in tell_lips.offsets(shown, own) if sure >= _SURE]
    return {
        "silence": _timed(tell_lips.silent_movement(shown, heard)),
        "frozen": _timed([Stretch(s.first, s.after, 1 / max(s.value, 0.05)) for s in still]),
        "closures": _missed(tell_lips.closures(shown, own, seen.closures)),
        "sync": _timed(shifts),
    }


def _missed(asked: list[Stretch]) -> Found | None:
    """The closures that do not come, each with the share that does not."""
    if len(asked) < _FEWEST_CLOSURES:
        return None
    missed = [s for s in asked if s.value > 1.75 * CLOSED_GAP]
    share = len(missed) / len(asked)
    return _timed([Stretch(s.first, s.after, share) for s in missed]) or [(0.0, 0.0, 0.0)]


def _timed(stretches: list[Stretch]) -> Found | None:
    return [(s.first / tell_lips.RATE, s.after / tell_lips.RATE, s.value) for s in stretches] or None


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
