"""An invisible watermark in the lower face: 64 bits spread over low frequencies of space and slow ones of time.

Spread spectrum in the transform domain (Cox, Kilian, Leighton, Shamoon: Secure Spread Spectrum Watermarking for
Multimedia, IEEE Trans. Image Processing 6(12), 1997), of space and of time: patterns of signs that swell and fade as
cosines and sines of time, each of its own. In large faces they are soft changes of red against green, of which strong
encoding leaves most and the eye sees least: skin has such of its own. In small ones, whose colours are encoded too
coarsely for that, they are of brightness. The reader brings the pictures of the face to one place and size and sums
them times each cosine and sine: what stands still in a face cancels, and the mark is left. Each place counts as little
as it moves otherwise. An eighth of the signs is the same in every mark (the pilot): it tells where the face was, when
the clock began and how far each frequency is to be trusted. The others carry the bits, with a check of 24 more,
protected by the code of `video.protected_bits`. Neither the original nor a key is needed to read it.

The face frame is that of lipsync: origin midway between the resting mouth corners, unit the outer-eye-corner
distance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from video.protected_bits import CODED, coded, decoded

#: The part of the face that carries the mark, face frame: left, top, right, bottom.
LEFT, TOP, RIGHT, BOTTOM = -0.4375, -0.16, 0.4375, 0.465
#: Samples of it for each eye distance; the reader looks that much further around, to find its place.
DENSITY, AROUND = 64, 0.125
#: Cycles a second, all of them odd quarters: after `TURN` seconds all signs are turned round.
BEATS, TURN = 0.75 + 0.5 * np.arange(8), 2.0
#: Where green has fewer grey levels, less is drawn.
DARK = 60.0
#: Samples over which the edge of the marked part fades.
_FADE = 4
#: Of the reader: variance of what stands still, how many places are looked at, and noise, of the mark's power.
_STILL, _TRIED, _NOISE = 4.0, 8, 3.0
#: Frames that are needed; standard deviations of chance beyond which the pilot may be there, and a known mark is.
_LEAST, _LIKELY, _SURE = 20, 4.0, 7.0
#: Sizes of the face that are tried, and steps of the clock, seconds.
_SIZES, _TICK = (1.0, 0.975, 1.025), 0.04
#: Bands of the frequencies of space that are trusted each by itself.
_BANDS = 3
#: Share of the coefficients that are the same in every mark.
_PILOT = 0.12


@dataclass(frozen=True, slots=True)
class _Plane:
    """Of the picture. drawn: what is added of red, green and blue; read: of them, where it is looked for; lowest,
    highest: cycles for each eye distance; strength: times `drawn`, root mean square over time."""

    drawn: tuple[float, float, float]
    read: tuple[float, float, float]
    lowest: float
    highest: float
    strength: float


#: Red against green, which is as good as nothing to brightness, by ITU-R BT.601 or BT.709; brightness.
_RED = _Plane((1.5, -0.59, 0), (0.5, -0.44, -0.06), 1.5, 6.0, 2.6)
_LUMA = _Plane((1, 1, 1), (0.299, 0.587, 0.114), 3.0, 12.0, 1.8)
_PLANES = (_RED, _LUMA)
#: Pixels from eye to eye from which on a face is marked in `_RED`.
_LARGE = 100.0


@cache
def _layout(plane: _Plane) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(2B,K) each, of a cosine, then a sine, for each of `BEATS`, and of each coefficient: True = of the pilot; which
    coded bit the others carry; and +1 or -1, so that no content is a plain picture."""
    generator = np.random.Generator(np.random.PCG64(0x6C697073796E63))
    shape = (2 * len(BEATS), len(_band(plane)[0]))
    size = shape[0] * shape[1]
    pilot = generator.permutation(size) < size * _PILOT
    place = np.concatenate([generator.permutation(CODED) for _ in range(-(-size // CODED))])[:size]
    return pilot.reshape(shape), place.reshape(shape), generator.choice([-1.0, 1.0], shape)


# ---- the transform


@cache
def _size() -> tuple[int, int]:
    """(width, height) of the marked part, samples."""
    return round((RIGHT - LEFT) * DENSITY), round((BOTTOM - TOP) * DENSITY)


@cache
def _band(plane: _Plane) -> tuple[np.ndarray, ...]:
    """Rows and columns of the cosine transform's coefficients that carry the mark."""
    width, height = _size()
    return np.nonzero(_inside(plane, _cycles(width, height)))


def _cycles(width: int, height: int) -> np.ndarray:
    """(h,w): of the cosine transform of so many samples, for each eye distance."""
    y, x = np.mgrid[:height, :width] * (DENSITY / 2)
    return np.hypot(y / height, x / width)


def _inside(plane: _Plane, cycles: np.ndarray) -> np.ndarray:
    return (cycles >= plane.lowest) & (cycles <= plane.highest)


def box_around(pixel_from_face: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1: the pixels of a picture of that size that the mark and what the reader looks at around it lie
    in; empty (x1 <= x0 or y1 <= y0) where the face is outside."""
    corners = np.array([[x, y, 1] for x in (LEFT - AROUND, RIGHT + AROUND) for y in (TOP - AROUND, BOTTOM + AROUND)])
    pixels = corners @ pixel_from_face[:2].T
    low = np.floor(pixels.min(0)).astype(int) - 4
    high = np.ceil(pixels.max(0)).astype(int) + 5
    x0, y0, x1, y1 = (*np.maximum(low, 0).tolist(), *np.minimum(high, [width, height]).tolist())
    return x0, y0, x1, y1


def _patch(picture: np.ndarray, pixel_from_face: np.ndarray, plane: _Plane) -> np.ndarray:
    """(h,w) float32: what the reader looks at, without what is coarser than the mark, of a (3,H,W) uint8 RGB picture,
    which is best of little more than that."""
    sides = np.array([LEFT, TOP, RIGHT, BOTTOM]) + AROUND * np.array([-1, -1, 1, 1])
    width, height = (round(float(d) * DENSITY) for d in (sides[2:] - sides[:2]))
    size = np.array(picture.shape[:0:-1])
    if size.min() < 8:
        return np.zeros((height, width), np.float32)
    red, green, blue = picture
    part = cv2.addWeighted(red, plane.read[0], green, plane.read[1], 0, dtype=cv2.CV_32F)
    part = cv2.scaleAdd(blue.astype(np.float32), plane.read[2], part)
    part_from_patch = _pixel_from_patch(pixel_from_face, sides[:2])
    scale = float(np.sqrt(abs(np.linalg.det(pixel_from_face[:2, :2])))) / DENSITY
    if scale > 1.3:
        fewer = np.maximum(np.round(size / scale).astype(int), 8)
        part = cv2.resize(part, tuple(fewer.tolist()), interpolation=cv2.INTER_AREA)
        part_from_patch[:2] *= (fewer / size)[:, None]
    part = cv2.warpAffine(
        part, _centred(part_from_patch), (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return part - cv2.GaussianBlur(part, (0, 0), DENSITY / plane.lowest / 3, borderType=cv2.BORDER_REFLECT)


def _pixel_from_patch(pixel_from_face: np.ndarray, corner: np.ndarray) -> np.ndarray:
    return pixel_from_face @ np.array([[1 / DENSITY, 0, corner[0]], [0, 1 / DENSITY, corner[1]], [0, 0, 1]])


def _centred(a_from_b: np.ndarray) -> np.ndarray:
    """(2,3) for cv2, whose origin is the middle of the first pixel."""
    to, back = np.eye(3), np.eye(3)
    to[:2, 2], back[:2, 2] = -0.5, 0.5
    return (to @ a_from_b @ back)[:2]


# ---- into a picture


def pattern(content: int) -> np.ndarray:
    """(P,2B,h,w) float32: what `embed` draws of a content, of 64 bits, in each plane: of a cosine, then a sine, for
    each of `BEATS`; together a root mean square of 1 over time but for the soft edge."""
    return np.stack([_drawings(plane, _signs(plane, content)) for plane in _PLANES])


def _signs(plane: _Plane, content: int) -> np.ndarray:
    """(2B,K) of +1 and -1: those of a plane's coefficients."""
    pilot, place, flip = _layout(plane)
    return np.where(pilot, 1, 1 - 2.0 * coded(content)[place]) * flip


def _drawings(plane: _Plane, wanted: np.ndarray) -> np.ndarray:
    """(2B,h,w) float32: the pictures of (2B,K) coefficients."""
    out, band = np.zeros((len(wanted), *_size()[::-1]), np.float32), _band(plane)
    for picture, row in zip(out, wanted, strict=True):
        picture[band] = row
        picture[:] = cv2.idct(picture)
    return out * _window() * np.sqrt(_window().size / (len(BEATS) * len(band[0])), dtype=np.float32)


def _carriers(second: float) -> np.ndarray:
    """(2B,): each cosine and sine at that time."""
    angle = 2 * np.pi * BEATS * second
    return np.stack([np.cos(angle), np.sin(angle)], -1).ravel().astype(np.float32)


@cache
def _window() -> np.ndarray:
    """(h,w) float32 in [0,1]: 0 at the edge of the marked part."""
    width, height = _size()
    one = [np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1) / _FADE for n in (height, width)]
    return np.outer(*(np.sin(np.pi / 2 * x.clip(0, 1)) for x in one)).astype(np.float32)


def embed(
    frame: np.ndarray,
    before: np.ndarray,
    pixel_from_face: np.ndarray,
    drawn: np.ndarray,
    second: float,
    strength: float,
) -> None:
    """Marks, in place, a (3,H,W) uint8 RGB frame, shown at `second`, where it differs from the one `before`. drawn: of
    `pattern`; strength: [0,1]."""
    x0, y0, x1, y1 = box_around(pixel_from_face, frame.shape[2], frame.shape[1])
    if min(x1 - x0, y1 - y0) < 8:
        return
    here = frame[:, y0:y1, x0:x1]
    scale = float(np.sqrt(abs(np.linalg.det(pixel_from_face[:2, :2]))))
    weight = _drawn(here, before[:, y0:y1, x0:x1], max(2, round(0.04 * scale)))
    face = pixel_from_face.copy()
    face[:2, 2] -= x0, y0
    patch = _centred(_pixel_from_patch(face, np.array([LEFT, TOP])))
    plane, pictures = (_RED, drawn[0]) if scale >= _LARGE else (_LUMA, drawn[1])
    now = np.tensordot(_carriers(second) * np.float32(strength * plane.strength), pictures, 1)
    added = cv2.warpAffine(now, patch, (x1 - x0, y1 - y0), flags=cv2.INTER_CUBIC)
    added *= weight * np.minimum(here[1] * np.float32(1 / DARK), 1)
    for channel, share in zip(here, plane.drawn, strict=True):
        if share:
            channel[:] = np.rint(channel + np.float32(share) * added).clip(0, 255)


def _drawn(frame: np.ndarray, before: np.ndarray, edge: int) -> np.ndarray:
    """(h,w) float32 in [0,1]: 0 where nothing was drawn, rising over `edge` pixels within what was."""
    changed = np.zeros(frame.shape[1:], np.uint8)
    for a, b in zip(frame, before, strict=True):
        cv2.bitwise_or(changed, cv2.compare(a, b, cv2.CMP_NE), changed)
    changed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    inside = cv2.blur((changed > 0).astype(np.float32), (2 * edge + 1, 2 * edge + 1), borderType=cv2.BORDER_REPLICATE)
    return (2 * inside - 1).clip(0, 1) * (changed > 0)


# ---- out of pictures


class Reader:
    """Sums the marked part of a face over frames."""

    def __init__(self) -> None:
        self._sums = [_Sums(plane) for plane in _PLANES]
        self.frames = 0

    def add(self, picture: np.ndarray, pixel_from_face: np.ndarray, second: float) -> None:
        """One more frame: (3,H,W) uint8 RGB."""
        for one in self._sums:
            one.add(_patch(picture, pixel_from_face, one.plane), _carriers(second))
        self.frames += 1

    def content(self) -> int | None:
        """What is marked; None: nothing that passes the check."""
        if self.frames < _LEAST:
            return None
        return next((one for sums in self._sums if (one := sums.content(self.frames)) is not None), None)

    def agrees(self, content: int) -> bool:
        """Whether these frames alone bear that content's mark, beyond doubt. Asks less than `content`."""
        return self.frames >= _LEAST and any(sums.agrees(content, self.frames) for sums in self._sums)


def joined(readers: Iterable[Reader]) -> Reader:
    """What one reader of all their frames would have summed."""
    whole = Reader()
    for one in readers:
        for sums, more in zip(whole._sums, one._sums, strict=True):
            sums.join(more)
        whole.frames += one.frames
    return whole


class _Sums:
    """Of one plane."""

    def __init__(self, plane: _Plane) -> None:
        width, height = (size + 2 * round(AROUND * DENSITY) for size in _size())
        self.plane = plane
        self._sum, self._square = np.zeros((2, height, width), np.float32)
        self._beat, self._carriers = np.zeros((2 * len(BEATS), height, width), np.float32), np.zeros(2 * len(BEATS))

    def add(self, patch: np.ndarray, carriers: np.ndarray) -> None:
        self._sum += patch
        self._square += patch * patch
        self._beat += carriers[:, None, None] * patch
        self._carriers += carriers

    def join(self, more: _Sums) -> None:
        self._sum += more._sum
        self._square += more._square
        self._beat += more._beat
        self._carriers += more._carriers

    def content(self, frames: int) -> int | None:
        beat, trust = self._heard(frames)
        places = _places_like(self.plane, beat * trust, _pilot(self.plane), _TRIED, _LIKELY)
        while places:
            near = [place for place in places if place.is_near(places[0])]
            content = decoded(np.sum([_read_bits(self.plane, beat, trust, place) for place in near], 0))
            if content is not None:
                return content
            places = [place for place in places if place not in near]
        return None

    def agrees(self, content: int, frames: int) -> bool:
        beat, trust = self._heard(frames)
        known = _drawings(self.plane, np.where(_layout(self.plane)[0], 0, _signs(self.plane, content)))
        return bool(_places_like(self.plane, beat * trust, known, 1, _SURE))

    def _heard(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """(2B,H,W): the sums times each cosine and sine, without what stands still; (H,W): how far each place is
        trusted."""
        mean = self._sum / frames
        moved = cv2.GaussianBlur(self._square / frames - mean * mean, (0, 0), 2.0)
        return self._beat - mean * self._carriers[:, None, None].astype(np.float32), 1 / (moved + _STILL)


@dataclass(frozen=True, slots=True)
class _Place:
    """x, y: where the marked part begins in what the reader looks at, samples; size: of the face; clock: seconds by
    which the mark's is ahead; sign: +1 or -1."""

    x: int
    y: int
    size: float
    clock: float
    sign: float

    def is_near(self, other: _Place) -> bool:
        apart = max(abs(self.x - other.x), abs(self.y - other.y), abs(self.clock - other.clock) / _TICK)
        return apart <= 2 and self.sign == other.sign


@cache
def _pilot(plane: _Plane) -> np.ndarray:
    """(2B,h,w): what every mark has in common."""
    pilot, _, flip = _layout(plane)
    return _drawings(plane, np.where(pilot, flip, 0))


def _places_like(plane: _Plane, heard: np.ndarray, known: np.ndarray, n: int, least: float) -> list[_Place]:
    """At most n places, of those where known pictures are likelier than chance by `least` standard deviations, the
    likeliest first. heard: (2B,H,W); known: (2B,h,w)."""
    clocks = np.arange(0, TURN, _TICK)
    turn = np.exp(-2j * np.pi * np.outer(clocks, BEATS))
    heard = _evened(plane, heard)
    scores = np.stack([np.tensordot(turn, _likeness(_resized(heard, size), known), 1).real for size in _SIZES])
    scores /= 1.4826 * np.median(np.abs(scores)) + 1e-9
    found: list[_Place] = []
    for at in np.argsort(-np.abs(scores), axis=None)[:n]:
        size, clock, y, x = np.unravel_index(at, scores.shape)
        score = float(scores[size, clock, y, x])
        if abs(score) > least:
            found.append(_Place(int(x), int(y), _SIZES[size], float(clocks[clock]), float(np.sign(score))))
    return found


def _evened(plane: _Plane, heard: np.ndarray) -> np.ndarray:
    """(2B,H,W): each frequency of space and time the less, the more of it there is."""
    cycles = _cycles(*heard.shape[:0:-1])
    inside = _inside(plane, cycles)
    bands, out = _bands_of(plane, cycles[inside]), np.zeros_like(heard)
    for k in range(0, len(heard), 2):
        found = np.stack([cv2.dct(one)[inside] for one in heard[k : k + 2]])
        power = np.maximum(_mean(bands, np.square(found).sum(0)), 1e-12)[bands]
        for picture, row in zip(out[k : k + 2], found / power, strict=True):
            picture[inside] = row
            picture[:] = cv2.idct(picture)
    return out


def _bands_of(plane: _Plane, cycles: np.ndarray) -> np.ndarray:
    """Which of `_BANDS`."""
    share = (cycles - plane.lowest) / (plane.highest - plane.lowest)
    return np.clip(share * _BANDS, 0, _BANDS - 1).astype(int)


def _likeness(heard: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(B,y,x) complex: by its angle, how far the mark's clock is ahead, for each place of the known pictures."""
    (cosine, sine), (own_cosine, own_sine) = ((some[::2], some[1::2]) for some in (heard, known))
    real = _matched(cosine, own_cosine) + _matched(sine, own_sine)
    return real + 1j * (_matched(cosine, own_sine) - _matched(sine, own_cosine))


def _matched(heard: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.stack([cv2.matchTemplate(a, b, cv2.TM_CCORR) for a, b in zip(heard, known, strict=True)])


def _resized(pictures: np.ndarray, size: float) -> np.ndarray:
    """(N,H,W): shown as if the face had been that much smaller."""
    if size == 1:
        return pictures
    height, width = pictures.shape[1:]
    matrix = np.array([[size, 0, (1 - size) * width / 2], [0, size, (1 - size) * height / 2], [0, 0, 1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(one, _centred(matrix), (width, height), flags=flags) for one in pictures])


def _at(pictures: np.ndarray, place: _Place) -> np.ndarray:
    """The marked part of (2B,H,W) sums, by the mark's own clock, or of (1,H,W) trust."""
    width, height = _size()
    part = _resized(pictures, place.size)[:, place.y : place.y + height, place.x : place.x + width]
    if len(part) == 1:
        return part
    turned = (part[::2] - 1j * part[1::2]) * np.exp(-2j * np.pi * BEATS * place.clock)[:, None, None]
    return place.sign * np.stack([turned.real, -turned.imag], 1).reshape(part.shape)


def _read_bits(plane: _Plane, beat: np.ndarray, trust: np.ndarray, at: _Place) -> np.ndarray:
    """(CODED,): what the sums say, at a place, of each coded bit."""
    pilot, place, flip = _layout(plane)
    found = flip * _unmixed(plane, _at(beat, at), _at(trust[None], at)[0])
    found = found * _reliance(plane, found)
    return np.bincount(place[~pilot], found[~pilot], CODED)


def _reliance(plane: _Plane, found: np.ndarray) -> np.ndarray:
    """(2B,K): how much each coefficient counts, by what the pilot's have lost about its frequency."""
    pilot, _, _ = _layout(plane)
    beats = np.repeat(np.arange(len(BEATS)), 2)[:, None]
    beats, bands = np.broadcast_arrays(beats, _bands_of(plane, _cycles(*_size())[_band(plane)]))
    cells = beats * _BANDS + bands
    power = _mean(cells.ravel(), np.square(found).ravel())
    by_beat, by_band = (np.maximum(_mean(by[pilot], found[pilot]), 0) for by in (beats, bands))
    left = np.outer(by_beat + by_beat.mean(), by_band).ravel()  # half of what beats differ by is chance
    return (left / np.maximum(power, 1e-12))[cells]


def _mean(cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each cell, those of its values."""
    return np.bincount(cells, values) / np.bincount(cells)


def _unmixed(plane: _Plane, beat: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """(2B,K): the coefficients whose mark fits a plane's sums best, each place of them by its trust (linear least mean
    square error)."""
    waves = _waves(plane) * np.sqrt(trust).ravel()
    mixed = waves @ waves.T
    mixed[np.diag_indices_from(mixed)] += _NOISE * float(np.diag(mixed).mean())
    return np.linalg.solve(mixed, waves @ (beat.reshape(len(beat), -1) * np.sqrt(trust).ravel()).T).T


@cache
def _waves(plane: _Plane) -> np.ndarray:
    """(K,h*w) float32: each coefficient of a plane alone, as it is drawn."""
    (width, height), (y, x) = _size(), _band(plane)
    rows = [np.cos(np.pi * np.outer(k, np.arange(n) + 0.5) / n) for k, n in ((y, height), (x, width))]
    waves = rows[0][:, :, None] * rows[1][:, None, :] * _window()
    return (waves / np.sqrt(np.square(waves).sum((1, 2), keepdims=True))).reshape(len(y), -1).astype(np.float32)
