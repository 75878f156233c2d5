"""From what was measured of one person to how strongly each tell is seen, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from lipsync.core.arrays import Array, runs_of
from lipsync.core.geometry import apply, magnification
from lipsync.core.lips import CLOSED_GAP, opening
from lipsync.core.types import REASONS, FaceTrack
from lipsync.evaluation import tell_lips, tell_pictures
from lipsync.evaluation.tell_lips import Heard, Shown, Stretch
from lipsync.evaluation.tell_pictures import Pictures, ovals

#: Length of the windows in which pictures are judged, and how often one begins (seconds).
WINDOW_S, EVERY_S = 1.0, 0.5
#: Change of what is between real lips that open and close, as a share of what is seen there at once.
TEETH = 0.5
#: Change of what is between real lips, of that of the skin around them, where a person moves it most.
UNREST = 7.5
#: Lips are open (eye distances); length of the windows in which teeth may change.
_OPEN, _RESTLESS_S = 0.035, 0.6
#: Teeth are asked to change where the opening spreads so far (standard deviation, eye distances), in so many places.
_OPENS, _PLACES = 0.015, 4
#: The softest windows of a target are so many times softer than what is called usual, at most.
_BLUR_VARIES = 1.25
#: Steadier than this the skin is never called (grey levels); openings change by so much a frame while teeth are asked
#: to move, and at least so many frames of a window must tell of them; grey levels of spread below which nothing is
#: seen between the lips.
_STEADY, _MOVES, _TELLING, _PLAIN = 0.3, 0.006, 6, 6.0
#: What is wrong with lips is a tear where it spreads less than this across the mouth (standard deviation, of its
#: width), in at least this share of a window's frames.
_NARROW, _TORN_SHARE = 0.245, 0.3
#: Of people of whom nothing else is known, mouths are up to so many times softer than the eyes.
_ALONE_SOFT = 1.2
#: Ovals outside of the lips, half width and height; and sizes beside one to which its step is compared.
_BEYOND_LIPS, _BESIDE = (0.4, 0.28), (3, 5)
#: How far away a face is laid over itself so that it is seen twice (eye distances); by how much of an echo a face's
#: windows usually differ from its mean.
_ECHO_LAGS, _ECHO_VARIES = (0.045, 0.13), 0.02
#: Where a collar is, face frame.
BELOW_CHIN = 0.8
#: A collar is dragged where its movement goes with the opening's at least so well.
_FOLLOWS = 0.45
#: Fewest closures that must be asked for, where they are known and where they are heard.
_FEWEST_KNOWN, _FEWEST_HEARD = 4, 6
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
    Kind("flicker", "flicker", "times the cheeks'", 4.0, 7.0, "The skin around the mouth flickers.",
         "The skin around the mouth is as steady as the cheeks."),
    Kind("tone", "skin tone steps at an edge", "grey levels", 9.0, 16.0,
         "The skin changes colour along an edge around the mouth.", "No edge is to be seen around the mouth."),
    Kind("ghost", "double lips or edges", "seen again", 0.045, 0.1, "Lips or edges are seen twice.",
         "The lips are seen once."),
    Kind("torn", "torn lip", "of the limit", 1.2, 2.0, "A lip is torn or out of place.",
         "The lips are whole."),
    Kind("teeth", "teeth stand still", "times stiller", 3.0, 5.0,
         "What is seen between the lips stays the same while the mouth moves.", "Teeth move as real ones do."),
    Kind(
        "restless",
        "teeth change, lips still",
        "times more",
        1.8,
        3.0,
        "What is seen between the lips changes while they are still.",
        "Teeth are steady while the lips are still.",
    ),
    Kind("covered", "something painted over", "s", 0.2, 0.5,
         "A mouth is drawn where a hand or an object hides it.", "No mouth is drawn over a hand or an object."),
    Kind("silence", "mouth moves in silence", "eye distances", 0.025, 0.06, "The mouth moves while nobody speaks.",
         "The mouth rests in silence."),
    Kind("frozen", "mouth still in speech", "times stiller", 3.0, 6.0, "The mouth hardly moves while somebody speaks.",
         "The mouth moves as the speech asks."),
    Kind("closures", "lips stay open on p, b, m", "of them", 0.75, 0.9,
         "Lips do not close where the sound asks for it.",
         "The lips close where the sound asks for it."),
    Kind("sync", "sound and lips out of step", "s", 0.075, 0.15, "Sound and lips are out of step.",
         "Sound and lips are in step."),
    Kind("dragged", "collar moves with the jaw", "of the opening", 0.2, 0.5,
         "What lies under the chin moves with the mouth.", "What lies under the chin stays in place."),
)  # fmt: skip
_LOOK = {kind.name: kind.look for kind in KINDS}
#: What is not told where another fault is seen.
_EXPLAINS = {
    "blur": ("ghost", "torn", "teeth"),
    "tone": ("ghost", "torn"),
    "frozen": ("teeth", "closures", "ghost", "torn"),
    "teeth": ("ghost", "torn"),
    "ghost": ("torn",),
    "flicker": ("restless",),
    "restless": ("torn",),
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
    found["ghost"], found["torn"] = ghost(seen), torn(seen)
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
    usual = float(np.log(_ALONE_SOFT))
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
    pictures, usual = seen.pictures, _average(seen.own.steps)

    def value(rows: slice) -> float:
        first, last = np.searchsorted(pictures.starts, [rows.start, rows.stop - 1], side="right") - 1
        steps = _average(pictures.steps[first : last + 1]) - usual
        return edge_step(steps) if np.isfinite(steps).all() else np.nan

    return windows(seen, value)


def _average(blocks: Array) -> Array:
    """Of the blocks that were measured."""
    known = blocks[np.isfinite(blocks).reshape(len(blocks), -1).all(1)].astype(np.float64)
    return known.mean(0) if len(known) else np.full(blocks.shape[1:], np.nan)


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


def ghost(seen: Seen) -> Found | None:
    """How much more of the lower face than of the original's is seen once more, a little away in one direction. Told
    only beside an original, whose own windows differ from its mean, too: lips are two edges beside each other."""
    if seen.own is None:
        return None
    usual = _average(seen.own.echo)
    n = len(seen.own.echo)
    own = [echo_peak(_average(seen.own.echo[k : k + 2]) - usual) for k in range(0, max(1, n - 1))]
    varies = float(np.nanmax(own)) if np.isfinite(own).any() else 0.0

    def value(rows: slice) -> float:
        first, last = np.searchsorted(seen.pictures.starts, [rows.start, rows.stop - 1], side="right") - 1
        more = echo_peak(_average(seen.pictures.echo[first : last + 1]) - usual)
        return more - max(0.0, varies - _ECHO_VARIES)

    return windows(seen, value)


def echo_peak(more: Array) -> float:
    """The highest place of a (lags down, lags right) cepstrum, above what it is on average as far away in other
    directions: a softer picture differs in all of them alike. NaN of what was not measured."""
    lags = np.hypot(tell_pictures.LAGS, tell_pictures.LAGS[len(tell_pictures.LAGS) // 2 :][:, None])
    ring = np.round(lags / (tell_pictures.LAGS[1] - tell_pictures.LAGS[0])).astype(int)
    mean = np.bincount(ring.ravel(), more.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    apart = gaussian_filter(more - mean[ring], 0.6)
    return float(apart[(lags > _ECHO_LAGS[0]) & (lags < _ECHO_LAGS[1])].max())


def torn(seen: Seen) -> Found | None:
    """How unlike the person's real lips these are in one place. Told only beside an original: a few seconds of the same
    video do not tell how a person's lips look."""
    if seen.own is None:
        return None
    how, spread = np.where(seen.only[:, None], seen.pictures.unlike, np.nan).T
    narrow = np.where(spread < _NARROW, how, 0)

    def value(rows: slice) -> float:
        known = narrow[rows][np.isfinite(how[rows])]
        return float(np.quantile(known, 1 - _TORN_SHARE)) if len(known) else np.nan

    return windows(seen, value)


def _teeth_change(track: FaceTrack, pictures: Pictures, rows: Array) -> float:
    """How much each place between the lips changes over these frames in which they open and close, as a share of what
    is seen there at once; NaN where that says nothing."""
    gap, inside = opening(track.lips.points)[rows], pictures.inside[rows].astype(np.float32)
    shown = np.isfinite(inside)
    if len(np.unique(track.shot[rows])) != 1:
        return np.nan
    used = shown.any((1, 2))
    often = shown.sum(0) >= _TELLING
    if used.sum() < _TELLING or gap[used].std() < _OPENS or often.sum() < _PLACES:
        return np.nan
    values = inside[:, often]
    spread = float(np.nanmedian(pictures.inner[rows, 2]))
    if not spread > _PLAIN:
        return np.nan
    return float(np.median(np.nanstd(values, axis=0))) / spread


def teeth(seen: Seen) -> Found | None:
    """Times less than usual what is between the lips changes while they move."""
    usual = TEETH

    def value(rows: slice) -> float:
        change = _teeth_change(seen.track, seen.pictures, np.flatnonzero(seen.only[rows]) + rows.start)
        return usual / max(change, 0.01)

    return windows(seen, value)


def _unrest(track: FaceTrack, pictures: Pictures) -> Array:
    """(T,) times more than the skin around the lips what is between them changes; NaN where that says nothing."""
    gap, inner = opening(track.lips.points), pictures.inner
    with np.errstate(invalid="ignore"):
        telling = (gap > _OPEN) & (inner[:, 2] > _PLAIN)
        return np.where(telling, inner[:, 0] / np.maximum(inner[:, 1], _STEADY), np.nan)


def restless(seen: Seen) -> Found | None:
    """Times more than usual what is between the lips changes, beside the skin around them: lips that move take their
    skin along. Beside a target, its own most restless windows are usual."""
    change, usual = np.where(seen.only, _unrest(seen.track, seen.pictures), np.nan), UNREST

    def median(values: Array) -> float:
        return _median(values) if np.isfinite(values).sum() >= _TELLING else np.nan

    if seen.own is not None and seen.own_track is not None:
        own, n = _unrest(seen.own_track, seen.own), max(2, round(_RESTLESS_S * seen.rate))
        each = [median(own[at : at + n]) for at in range(0, max(1, len(own) - n // 2), max(1, n // 2))]
        usual = float(np.nanmax(each)) if np.isfinite(each).any() else UNREST
    return windows(seen, lambda rows: median(change[rows]) / usual, _RESTLESS_S)


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
    chin = apply(place, np.array([[0.0, BELOW_CHIN]]))[:, 0, 1]
    moved = seen.pictures.under[:, 0] + np.diff(chin, prepend=chin[:1]) / magnification(place)
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
        "closures": _missed(
            tell_lips.closures(shown, own, seen.closures),
            _FEWEST_HEARD if seen.closures is None else _FEWEST_KNOWN,
        ),
        "sync": _timed(shifts),
    }


def _missed(asked: list[Stretch], fewest: int) -> Found | None:
    """The closures that do not come, each with the share that does not."""
    if len(asked) < fewest:
        return None
    missed = [s for s in asked if s.value > 1.75 * CLOSED_GAP]
    share = len(missed) / len(asked)
    return _timed([Stretch(s.first, s.after, share) for s in missed]) or [(0.0, 0.0, 0.0)]


def _timed(stretches: list[Stretch]) -> Found | None:
    return [(s.first / tell_lips.RATE, s.after / tell_lips.RATE, s.value) for s in stretches] or None


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
