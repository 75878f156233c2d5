"""Something before the mouth: frames whose mouth the person's other mouths cannot explain."""

from __future__ import annotations

import numpy as np

from lipsync.core.geometry import apply, warp_frame
from lipsync.core.graphics import Graphics

#: Thumbnail of the mouth region: rows, columns, pixels per eye distance, and where the mouth's origin lies in it. It
#: ends inside the
#: cheeks, so that hair and background beside a turned head are not taken for a thing before the mouth.
ROWS, COLUMNS, _SCALE = 24, 32, 38.0
_THUMB_FROM_FACE = np.array([[_SCALE, 0, COLUMNS / 2], [0, _SCALE, 10], [0, 0, 1.0]])


#: Components of the model as it grows, each with the grey levels above the usual miss up to which a frame beyond the
#: best three quarters
#: is learnt from. Then: frames it learns from at most, frames below which nothing is said.
RANKS = (
    (1, 0.0),
    (2, 0.0),
    (4, 0.0),
    (8, 0.0),
    (16, 6.0),
    (16, 8.0),
    (16, 9.0),
    (24, 10.0),
    (24, 11.0),
    (32, 12.0),
    (32, 12.0),
)
LEARN_FROM, FEWEST = 500, 25
#: Covered: this many robust deviations and at least this many grey levels worse than the usual frame, with the frames
#: beside it that are
#: worse by half of that; widened by MARGIN frames.
DEVIATIONS, LEAST_MISFIT, MARGIN = 8.0, 24.0, 1


class Thumbnails:
    """One person's mouths, small: luma 24x32 and chroma 12x16, 1152 bytes a frame."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: np.ndarray) -> None:
        """Keep the `mouth_thumbnail` of one more frame."""
        self._rows.append(row)

    def stacked(self) -> np.ndarray:
        """(T,1152) uint8."""
        return np.stack(self._rows) if self._rows else np.zeros((0, ROWS * COLUMNS * 3 // 2), np.uint8)


def mouth_thumbnail(rgb: np.ndarray, pixel_from_face: np.ndarray) -> np.ndarray:
    """(1152,) uint8 the mouth region of one (H,W,3) uint8 frame under a (3,3) transform."""
    import cv2

    thumb = warp_frame(rgb, _THUMB_FROM_FACE @ np.linalg.inv(pixel_from_face), ROWS, COLUMNS)
    ycc = cv2.cvtColor(thumb, cv2.COLOR_RGB2YCrCb)
    chroma = cv2.resize(ycc[..., 1:], (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_AREA)
    return np.concatenate([ycc[..., 0].ravel(), chroma.ravel()])


def mouth_outlines(landmarks: np.ndarray, pixel_from_face: np.ndarray) -> np.ndarray:
    """(T,12,2) thumbnail pixels of the outer edge of the lips, from (T,68,2) landmarks and the (T,3,3) transforms the
    thumbnails were taken under."""
    return apply(_THUMB_FROM_FACE @ np.linalg.inv(pixel_from_face), landmarks[:, 48:60])


def behind(
    graphics: Graphics, frames: np.ndarray, thumbnails: np.ndarray, outlines: np.ndarray, pixel_from_face: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) share of the lips that is under a graphic in n `frames`, and the (n,1152) thumbnails with the usual mouth in
    its place, so that it is not taken for something that hides the mouth wholly. pixel_from_face: (n,3,3), of the
    thumbnails."""
    import cv2

    y, x = np.mgrid[:ROWS, :COLUMNS] + 0.5
    grid = np.stack([x, y], -1).reshape(1, -1, 2)
    share, filled, usual = np.zeros(len(frames), np.float32), thumbnails.copy(), np.median(thumbnails, axis=0)
    for i, frame in enumerate(frames):
        points = apply((pixel_from_face[i] @ np.linalg.inv(_THUMB_FROM_FACE))[None], grid)
        mask = graphics.at(int(frame), points.reshape(ROWS, COLUMNS, 2)).astype(np.uint8)
        if not mask.any():
            continue
        lips = cv2.fillPoly(np.zeros((ROWS, COLUMNS), np.uint8), [np.round(outlines[i]).astype(np.int32)], (1,))
        share[i] = float(mask[lips > 0].mean()) if lips.any() else 0.0
        chroma = np.repeat(cv2.resize(mask, (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_AREA).ravel(), 2)
        hidden = np.concatenate([cv2.dilate(mask, np.ones((3, 3), np.uint8)).ravel(), chroma]) > 0
        filled[i, hidden] = usual[hidden]
    return share, filled


def covered(thumbnails: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    """(T,) bool: something lies over the mouth in these (T,1152) thumbnails of one person, whose lips are found at
    (T,12,2) `outlines`.

    A low-rank model of the person's own mouths (principal components; the quarter it explains worst is left out and the
    rest refitted) is asked to redraw every frame. A frame is covered where its worst tenth of pixels misses by far more
    than this person's usual frame does. What lies inside the lips does not count: there a mouth may open as never
    before, and what covers a mouth is larger than the lips."""
    if len(thumbnails) < FEWEST:
        return np.zeros(len(thumbnails), bool)
    error = misfit(thumbnails, outlines)
    usual = np.median(error)
    spread = 1.4826 * np.median(np.abs(error - usual))
    limit = np.maximum(DEVIATIONS * spread, LEAST_MISFIT)
    out = _with_neighbours(error > usual + limit, error > usual + limit / 2)
    # The frames in which a hand arrives and leaves are covered in part.
    return np.convolve(out, np.ones(2 * MARGIN + 1), "same") > 0.5


def _with_neighbours(sure: np.ndarray, perhaps: np.ndarray) -> np.ndarray:
    """(T,) bool: the runs of `perhaps` in which there is a `sure` one."""
    run = np.cumsum(np.diff(perhaps, prepend=False) != 0)
    return perhaps & np.isin(run, run[sure])


def misfit(thumbnails: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    """(T,) float32: mean error, in grey levels, of each frame's worst-explained tenth outside the lips."""
    step = max(1, len(thumbnails) // LEARN_FROM)
    learn, lips = _levelled(thumbnails[::step]), _inside(outlines[::step])
    mean, basis = np.median(learn, axis=0), np.zeros((0, learn.shape[1]), np.float32)
    exact = learn.astype(np.float64)
    products = exact @ exact.T  # of all, once: each model takes those of its frames
    # Starting from the median, and growing, the model never learns a strange thing seen in less than a quarter of the
    # frames; once it knows the common mouths, one that only opens wider than usual misses by less than a strange thing,
    # and is learnt too.
    for rank, admitted in RANKS:
        error = _worst_tenth(learn, lips, mean, basis)
        use = np.flatnonzero(error <= max(np.quantile(error, 0.75), np.median(error) + admitted))
        mean, basis = _components(learn[use], products[np.ix_(use, use)], rank)
    chunks = [slice(i, i + 1024) for i in range(0, len(thumbnails), 1024)]
    return np.concatenate([_worst_tenth(_levelled(thumbnails[c]), _inside(outlines[c]), mean, basis) for c in chunks])


def _inside(outlines: np.ndarray) -> np.ndarray:
    """(T,1152) bool: the values of a thumbnail on the lips, between them, and one pixel around."""
    import cv2

    out = np.zeros((len(outlines), ROWS * COLUMNS * 3 // 2), bool)
    edge = np.ones((3, 3), np.uint8)
    for row, outline in zip(out, np.round(np.clip(outlines, -COLUMNS, 2 * COLUMNS)).astype(np.int32), strict=True):
        luma = cv2.fillPoly(np.zeros((ROWS, COLUMNS), np.uint8), [outline], (255,))
        chroma = cv2.resize(luma, (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_AREA)
        row[: ROWS * COLUMNS] = cv2.dilate(luma, edge).ravel() > 0
        row[ROWS * COLUMNS :] = np.repeat(cv2.dilate(chroma, edge).ravel() > 0, 2)
    return out


def _levelled(thumbnails: np.ndarray) -> np.ndarray:
    """(T,1152) float32, every frame's luma and chroma moved to their own middle: brighter light alone is not a thing
    before the mouth."""
    values = thumbnails.astype(np.float32)
    luma, chroma = values[:, : ROWS * COLUMNS], values[:, ROWS * COLUMNS :].reshape(len(values), -1, 2)
    luma -= np.median(luma, axis=1, keepdims=True)
    chroma -= np.median(chroma, axis=1, keepdims=True)
    return values


def _components(rows: np.ndarray, products: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and the leading `rank` directions (k,d) of (n,d) rows, from their (n,n) float64 products."""
    from scipy.linalg import eigh

    mean, n = rows.mean(0), len(rows)
    off = products.mean(0)
    centred = products - off - off[:, None] + off.mean()
    # From the products of frames, which are fewer than pixels, and no more directions than wanted: a tenth of the time.
    strength, shares = eigh(centred, subset_by_index=(n - max(1, min(rank, n // 6)), n - 1))
    shares = np.ascontiguousarray(shares.T[strength > 1e-9 * max(strength[-1], 1e-6)][::-1])  # views are slow factors
    directions = shares @ (rows - mean).astype(np.float64)
    return mean, (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)


def _worst_tenth(rows: np.ndarray, lips: np.ndarray, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    centred = rows - mean
    missed = np.where(lips, 0, np.abs(centred - (centred @ basis.T) @ basis))
    tenth = missed.shape[1] // 10
    return np.partition(missed, -tenth, axis=1)[:, -tenth:].mean(1)
