"""An invisible watermark in the lower face: 64 bits spread over the mid frequencies of its cosine transform, which come
and go slowly.

Spread spectrum in the transform domain (Cox, Kilian, Leighton, Shamoon: Secure Spread Spectrum Watermarking for
Multimedia, IEEE Trans. Image Processing 6(12), 1997). One pattern of signs swells and fades as a sine of time. The
reader brings the pictures of the face to one place and size and sums them times that sine: what stands still in a face
cancels, and the mark is left. Each place counts as little as it moves otherwise. The bits, with a check of 32 more, are
protected by the tail-biting convolutional code of LTE (3GPP TS 36.212, 5.1.3.1). Neither the original nor a key is
needed to read it.

The face frame is that of lipsync: origin midway between the resting mouth corners, unit the outer-eye-corner
distance."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from functools import cache

import cv2
import numpy as np

#: The part of the face that carries the mark, face frame: left, top, right, bottom.
LEFT, TOP, RIGHT, BOTTOM = -0.4375, -0.16, 0.4375, 0.465
#: Samples of it for each eye distance; the reader looks that much further around, to find its place.
DENSITY, AROUND = 64, 0.125
#: Cycles for each eye distance.
LOWEST, HIGHEST = 6.0, 15.0
#: Of the sine, a second.
BEATS = 1.5
#: Grey levels, at most, of what is drawn: on plain skin, and where the picture is busiest.
PLAIN, BUSY = 1.3, 3.0
#: Samples over which the edge of the marked part fades.
_FADE = 4
#: Of the reader: variance of what stands still, how many places are decoded, and noise, of the mark's power.
_STILL, _TRIED, _NOISE = 1.0, 12, 0.3
#: Frames that are needed; standard deviations of chance beyond which a known mark is there.
_LEAST, _LIKE = 20, 7.0
_BITS, _CHECK = 64, 32
_TAPS = (0o133, 0o171, 0o165)
_STATES = 64


# ---- the code


def codeword(content: int) -> np.ndarray:
    """(K,) float32 of +1 and -1: the signs that the coefficients of `_band` are to have. content: of 64 bits."""
    data = content.to_bytes(_BITS // 8, "big")
    bits = np.unpackbits(np.frombuffer(data + zlib.crc32(data).to_bytes(_CHECK // 8, "big"), np.uint8))
    register = np.stack([np.roll(bits, k) for k in range(7)])  # tail-biting: the register begins with the last bits
    coded = np.stack([register[[k for k in range(7) if tap >> (6 - k) & 1]].sum(0) % 2 for tap in _TAPS], -1)
    place, flip = _interleaved()
    return ((1 - 2.0 * coded.ravel()[place]) * flip).astype(np.float32)


def decode(soft: np.ndarray) -> list[int | None]:
    """The content of each row of (H,K) coefficients, of any scale and sign; None where the check does not hold."""
    found: list[int | None] = []
    for bits, seen in zip(_most_likely(_coded(soft))[0], soft.any(1), strict=True):
        # all signs turned round is a word of the code, too: that of all bits turned round
        turned = (bits, bytes(255 - byte for byte in bits)) if seen else ()
        known = [one[: _BITS // 8] for one in turned if zlib.crc32(one[: _BITS // 8]).to_bytes(4, "big") == one[-4:]]
        found.append(int.from_bytes(known[0], "big") if known else None)
    return found


def _coded(soft: np.ndarray) -> np.ndarray:
    """(H,n,3): what (H,K) coefficients say of each coded bit."""
    place, flip = _interleaved()
    coded = np.zeros((len(soft), len(_TAPS) * (_BITS + _CHECK)), np.float32)
    np.add.at(coded.T, place, (soft * flip).T)
    return coded.reshape(len(soft), -1, len(_TAPS))


@cache
def _interleaved() -> tuple[np.ndarray, np.ndarray]:
    """Which coded bit each coefficient carries, each as often as the others within one, and (K,) +1 or -1, so that no
    content is a plain picture."""
    generator = np.random.Generator(np.random.PCG64(0x6C697073796E63))
    k, n = len(_band()[0]), len(_TAPS) * (_BITS + _CHECK)
    place = np.concatenate([generator.permutation(n) for _ in range(-(-k // n))])[:k]
    return place, generator.choice([-1.0, 1.0], k)


@cache
def _trellis() -> tuple[np.ndarray, np.ndarray]:
    """For each state (the last six bits, the newest on top) the (64,2) states before it, and the (64,2,3) signs sent on
    the way from them."""
    after = np.arange(_STATES)
    before = ((after[:, None] & 31) << 1) | np.arange(2)
    register = ((after[:, None] >> 5) << 6) | before
    sent = np.array([[[bin(r & tap).count("1") % 2 for tap in _TAPS] for r in row] for row in register])
    return before, (1 - 2 * sent).astype(np.float32)


def _most_likely(coded: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """The bits of the likeliest words, and (H,) how likely they are. coded: (H,n,3).

    Viterbi's algorithm, once around to find the state at the joint, once to read."""
    before, sent = _trellis()
    (rows, n), twice = coded.shape[:2], np.concatenate([coded, coded], 1)
    score, chosen = np.zeros((rows, _STATES), np.float32), np.zeros((2 * n, rows, _STATES), np.uint8)
    for i in range(2 * n):
        ways = score[:, before] + np.einsum("hk,sbk->hsb", twice[:, i], sent)
        chosen[i] = ways[..., 1] > ways[..., 0]
        score = ways.max(-1)
    best = score.max(1)
    state, bits, every = score.argmax(1), np.zeros((rows, 2 * n), np.uint8), np.arange(rows)
    for i in range(2 * n - 1, -1, -1):
        bits[:, i] = state >> 5
        state = before[state, chosen[i, every, state]]
    middle = np.roll(bits[:, n // 2 : n // 2 + n], n // 2, axis=1)
    return [row.tobytes() for row in np.packbits(middle, axis=1)], best


# ---- the transform


@cache
def _size() -> tuple[int, int]:
    """(width, height) of the marked part, samples."""
    return round((RIGHT - LEFT) * DENSITY), round((BOTTOM - TOP) * DENSITY)


@cache
def _band() -> tuple[np.ndarray, ...]:
    """Rows and columns of the cosine transform's coefficients that carry the mark."""
    width, height = _size()
    y, x = np.mgrid[:height, :width]
    cycles = np.hypot(x / (2 * (RIGHT - LEFT)), y / (2 * (BOTTOM - TOP)))
    return np.nonzero((cycles >= LOWEST) & (cycles <= HIGHEST))


@cache
def _cycles() -> np.ndarray:
    """(K,) of the coefficients of `_band`, for each eye distance."""
    y, x = _band()
    return np.hypot(x / (2 * (RIGHT - LEFT)), y / (2 * (BOTTOM - TOP)))


@cache
def _by_cycles() -> np.ndarray:
    """(K,) the coefficients of `_band`, lowest first."""
    return np.argsort(_cycles(), kind="stable")


def _spread(values: np.ndarray) -> np.ndarray:
    """(...,K) how large coefficients are about each frequency."""
    order, near = _by_cycles(), 41
    power = np.pad(np.square(values[..., order]), [(0, 0)] * (values.ndim - 1) + [(near // 2, near // 2)], "reflect")
    out = np.empty_like(values)
    out[..., order] = np.sqrt(np.lib.stride_tricks.sliding_window_view(power, near, -1).mean(-1))
    return out


def _detail(patch: np.ndarray) -> np.ndarray:
    """(h,w) float32 a patch without what is coarser than the mark."""
    return patch - cv2.GaussianBlur(patch, (0, 0), DENSITY / LOWEST / 3, borderType=cv2.BORDER_REFLECT)


def box_around(pixel_from_face: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1: the pixels of a picture of that size that the mark and what the reader looks at around it lie
    in; empty (x1 <= x0 or y1 <= y0) where the face is outside."""
    corners = np.array([[x, y, 1] for x in (LEFT - AROUND, RIGHT + AROUND) for y in (TOP - AROUND, BOTTOM + AROUND)])
    pixels = corners @ pixel_from_face[:2].T
    low = np.floor(pixels.min(0)).astype(int) - 4
    high = np.ceil(pixels.max(0)).astype(int) + 5
    x0, y0, x1, y1 = (*np.maximum(low, 0).tolist(), *np.minimum(high, [width, height]).tolist())
    return x0, y0, x1, y1


def _patch(luma: np.ndarray, pixel_from_face: np.ndarray, around: float) -> np.ndarray:
    """(h,w) float32: the marked part and so much around it, of (H,W) luma, which is best of little more than that."""
    sides = np.array([LEFT, TOP, RIGHT, BOTTOM]) + around * np.array([-1, -1, 1, 1])
    width, height = (round(float(d) * DENSITY) for d in (sides[2:] - sides[:2]))
    size = np.array(luma.shape[::-1])
    if size.min() < 8:
        return np.zeros((height, width), np.float32)
    part = np.asarray(luma, np.float32)
    scale = float(np.sqrt(abs(np.linalg.det(pixel_from_face[:2, :2])))) / DENSITY
    if scale > 1.3:
        fewer = np.maximum(np.round(size / scale).astype(int), 8)
        part = cv2.resize(part, tuple(fewer.tolist()), interpolation=cv2.INTER_AREA)
    else:
        fewer = size
    part_from_patch = _pixel_from_patch(pixel_from_face, sides[:2])
    part_from_patch[:2] *= (fewer / size)[:, None]
    return cv2.warpAffine(
        part, _centred(part_from_patch), (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def _pixel_from_patch(pixel_from_face: np.ndarray, corner: np.ndarray) -> np.ndarray:
    return pixel_from_face @ np.array([[1 / DENSITY, 0, corner[0]], [0, 1 / DENSITY, corner[1]], [0, 0, 1]])


def _centred(a_from_b: np.ndarray) -> np.ndarray:
    """(2,3) for cv2, whose origin is the middle of the first pixel."""
    to, back = np.eye(3), np.eye(3)
    to[:2, 2], back[:2, 2] = -0.5, 0.5
    return (to @ a_from_b @ back)[:2]


# ---- into a picture


def pattern(content: int) -> np.ndarray:
    """(h,w) float32: what `embed` draws of a content, a root mean square of 1 but for its soft edge."""
    wanted = np.zeros(_size()[::-1], np.float32)
    wanted[_band()] = codeword(content)
    drawn = cv2.idct(wanted)
    return drawn / float(np.sqrt((drawn * drawn).mean())) * _window()


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
    weight = strength * _drawn(here, before[:, y0:y1, x0:x1], max(2, round(0.04 * scale)))
    face = pixel_from_face.copy()
    face[:2, 2] -= x0, y0
    detail = _detail(_patch(luma_of(here), face, 0))
    busy = cv2.blur(np.abs(detail), (7, 7))
    gain = (PLAIN + 0.2 * busy).clip(None, BUSY) * np.float32(np.sin(2 * np.pi * BEATS * second))
    patch = _centred(_pixel_from_patch(face, np.array([LEFT, TOP])))
    added = weight * cv2.warpAffine(gain * drawn, patch, (x1 - x0, y1 - y0), flags=cv2.INTER_CUBIC)
    here[:] = np.rint(here + added).clip(0, 255)


def luma_of(rgb: np.ndarray) -> np.ndarray:
    """(h,w) float32 of (3,h,w) uint8."""
    mixed = cv2.addWeighted(rgb[0], 0.299, rgb[1], 0.587, 0, dtype=cv2.CV_32F)
    return cv2.scaleAdd(rgb[2].astype(np.float32), 0.114, mixed)


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
        width, height = (size + 2 * round(AROUND * DENSITY) for size in _size())
        self._sum, self._square = np.zeros((2, height, width), np.float32)
        self._beat, self._phases = np.zeros((height, width), np.complex64), 0j
        self.frames = 0

    def add(self, luma: np.ndarray, pixel_from_face: np.ndarray, second: float) -> None:
        """One more frame, (H,W) luma."""
        detail = _detail(_patch(luma, pixel_from_face, AROUND))
        phase = complex(np.exp(-2j * np.pi * BEATS * second))
        self._sum += detail
        self._square += detail * detail
        self._beat += detail * np.complex64(phase)
        self._phases += phase
        self.frames += 1

    def content(self) -> int | None:
        """What is marked; None: nothing that passes the check."""
        if self.frames < _LEAST:
            return None
        soft = self._soft()
        return next((one for one in decode(soft) if one is not None), None)

    def _soft(self) -> np.ndarray:
        """(_TRIED,K) coefficients, in their order of size, at the likeliest places; their common sign is not
        known."""
        mean = self._sum / self.frames
        beat = self._beat - mean * np.complex64(self._phases)
        trust = 1 / (cv2.GaussianBlur(self._square / self.frames - mean * mean, (0, 0), 2.0) + _STILL)
        likely = _likeliest(beat * trust, _places(), 4)
        nearby = (likely[:, None] + np.array([[x, y, 0] for x in (-1, 0, 1) for y in (-1, 0, 1)])).reshape(-1, 3)
        likely = _likeliest(beat * trust, np.unique(nearby, axis=0), _TRIED)
        return np.stack([
            _turned(_unmixed(part, sure))
            for part, sure in zip(_moved(beat, likely), _moved(trust, likely), strict=True)
        ])  # fmt: skip

    def agrees(self, content: int) -> bool:
        """Whether these frames alone bear that content's mark, beyond doubt. Asks less than `content`."""
        if self.frames < _LEAST:
            return False
        soft = self._soft()
        likeness = np.abs(soft @ codeword(content)) / np.linalg.norm(soft, axis=1)
        return bool(likeness.max() > _LIKE)


def joined(readers: Iterable[Reader]) -> Reader:
    """What one reader of all their frames would have summed."""
    whole = Reader()
    for one in readers:
        whole._sum += one._sum
        whole._square += one._square
        whole._beat += one._beat
        whole._phases += one._phases
        whole.frames += one.frames
    return whole


@cache
def _places() -> np.ndarray:
    """(H,3): moves of the patch in samples, and factors of its size."""
    steps = np.arange(-6, 7, 2)
    return np.array([[x, y, s] for s in (1.0, 0.975, 1.025) for y in steps for x in steps], float)


def _likeliest(beat: np.ndarray, places: np.ndarray, n: int) -> np.ndarray:
    """The n places at which the coefficients are most like a word of the code."""
    soft = np.stack([_turned(_coefficients(part)) for part in _moved(beat, places)])
    _, likeness = _most_likely(_coded(soft))
    return places[np.argsort(-likeness / np.maximum(np.linalg.norm(soft, axis=1), 1e-9))[:n]]


def _turned(found: np.ndarray) -> np.ndarray:
    """(K,) float of complex coefficients of one phase and any size, by their phase; the common sign is not known."""
    found = found / np.maximum(_spread(np.abs(found)), 1e-9)
    return (found * np.exp(-0.5j * np.angle((found**2).sum()))).real  # squares have no signs


def _moved(values: np.ndarray, places: np.ndarray) -> Iterator[np.ndarray]:
    """The marked part of real or complex (h,w) values, taken from each place."""
    (width, height), around = _size(), round(AROUND * DENSITY)
    middle = np.array([width / 2, height / 2])
    for x, y, s in places:
        matrix = np.diag([s, s, 1.0])
        matrix[:2, 2] = middle - s * middle + around + [x, y]
        parts = [
            cv2.warpAffine(
                np.ascontiguousarray(part), _centred(matrix), (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
            for part in ((values.real, values.imag) if np.iscomplexobj(values) else (values,))
        ]  # fmt: skip
        yield parts[0] + 1j * parts[1] if len(parts) > 1 else parts[0]


def _coefficients(part: np.ndarray) -> np.ndarray:
    """(K,) complex coefficients of the band."""
    real, imag = (np.ascontiguousarray(p, np.float32) * _window() for p in (part.real, part.imag))
    return cv2.dct(real)[_band()] + 1j * cv2.dct(imag)[_band()]


def _unmixed(beat: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """(K,) complex: the coefficients whose mark fits the beat best, each place of it by its trust (linear least mean
    square error)."""
    waves = _waves() * np.sqrt(trust).ravel()
    mixed = waves @ waves.T
    mixed[np.diag_indices_from(mixed)] += _NOISE * float(np.diag(mixed).mean())
    return np.linalg.solve(mixed, waves @ (beat * np.sqrt(trust)).ravel())


@cache
def _waves() -> np.ndarray:
    """(K,h*w) float32: each coefficient of the band alone, as it is drawn."""
    (width, height), (y, x) = _size(), _band()
    rows = [np.cos(np.pi * np.outer(k, np.arange(n) + 0.5) / n) for k, n in ((y, height), (x, width))]
    waves = rows[0][:, :, None] * rows[1][:, None, :] * _window()
    return (waves / np.sqrt(np.square(waves).sum((1, 2), keepdims=True))).reshape(len(y), -1).astype(np.float32)
