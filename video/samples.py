"""Drawn RGB put into decoded frames: every sample that nothing was drawn over stays as decoded, at its full depth.

The drawing is in eight bits of RGB. What it changed, and only that, is added to the frame's own samples; their fine
grain, less than a level of eight bits, stays in what was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from video.colour import FULL, SCALING, SITINGS, ColourTags, passing, rows_of, to_yuv

#: Grey levels of eight bits: grain below `_GRAIN` stays whatever was drawn; the rest of what RGB could not tell of a
#: sample (whiter than white, finer colour) goes as what was drawn differs by up to `_REPLACED`.
_GRAIN, _REPLACED = 1.0, 16.0
_MARGIN = 4  # pixels around the changed ones that filters of colour samples reach


@dataclass(frozen=True, slots=True)
class Drawn:
    """A decoded frame and what was drawn over it. before, after: (3,h,w) uint8 RGB of the box that holds all changes,
    whose first pixel is (x, y); None where nothing was drawn."""

    frame: av.VideoFrame
    x: int = 0
    y: int = 0
    before: np.ndarray | None = None
    after: np.ndarray | None = None


def drawn_over(frame: av.VideoFrame, before: np.ndarray, after: np.ndarray, at: tuple[int, int] = (0, 0)) -> Drawn:
    """The box of (3,H,W) uint8 in which `after` differs from `before`, the RGB of `frame` from pixel `at` (x, y) on,
    copied."""
    changed = np.zeros(before.shape[1:], np.uint8)
    for a, b in zip(before, after, strict=True):
        cv2.bitwise_or(changed, cv2.compare(a, b, cv2.CMP_NE), changed)
    x, y, width, height = cv2.boundingRect(changed)
    if not width:
        return Drawn(frame)
    x0, y0 = (max(-(-edge // 4), (edge + k - _MARGIN) // 4) * 4 for edge, k in zip(at, (x, y), strict=True))
    box = np.s_[:, y0 - at[1] : y + height + _MARGIN, x0 - at[0] : x + width + _MARGIN]
    return Drawn(frame, x0, y0, before[box].copy(), after[box].copy())


class Painter:
    """Frames of `pix_fmt` from decoded ones with drawings. tags: of what is written, source: of what is decoded, both
    resolved; siting: FFmpeg's name of where the colour samples lie. Not for two threads at once."""

    def __init__(self, tags: ColourTags, pix_fmt: str, siting: str, source: ColourTags) -> None:
        self._tags, self._pix_fmt, self._siting, self._source = tags, pix_fmt, siting, source
        self._scale = VideoReformatter()
        self._kind: tuple[str, int, int] | None = None
        self._own: Any = None

    def frame(self, drawn: Drawn) -> av.VideoFrame:
        """The picture, tagged, with the side data of the decoded one, which stays as it is."""
        frame = self._with_tags(self._converted(self._owned(drawn.frame)))
        if drawn.before is not None and drawn.after is not None:
            frame.make_writable()  # a copy where others hold the same memory
            self._add(frame, drawn.x, drawn.y, drawn.before, drawn.after)
        return frame

    def _owned(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Another frame object on the same memory."""
        kind = frame.format.name, frame.width, frame.height
        if kind != self._kind:
            by = f"setparams=chroma_location={self._siting}" if frame.format.is_rgb else "null"
            self._own, self._kind = passing(*kind, by), kind
        return self._own(frame)

    def _converted(self, frame: av.VideoFrame) -> av.VideoFrame:
        coefficients, extent = self._tags.coefficients, FULL if frame.format.is_rgb else self._source.range
        if (frame.format.name, extent) == (self._pix_fmt, self._tags.range):
            return frame
        return self._scale.reformat(
            frame, format=self._pix_fmt, interpolation=SCALING, src_colorspace=coefficients,
            dst_colorspace=coefficients, src_color_range=extent, dst_color_range=self._tags.range,
        )  # fmt: skip

    def _with_tags(self, frame: av.VideoFrame) -> av.VideoFrame:
        tags = self._tags
        frame.colorspace, frame.color_range = tags.matrix, tags.range
        frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
        frame.pict_type = 0  # the decoded one's would be an order to the encoder
        return frame

    def _add(self, frame: av.VideoFrame, x: int, y: int, before: np.ndarray, after: np.ndarray) -> None:
        """The change from `before` to `after`, (3,h,w) uint8 RGB at (x, y), into the samples of a writable frame."""
        depth, offset = frame.format.components[0].bits, SITINGS[self._siting]
        matrix, grain = to_yuv(self._tags, depth), _GRAIN * 2.0 ** (depth - 8)
        moved = cv2.absdiff(before, after).max(0).astype(np.float32) / _REPLACED
        for samples, row in zip(_samples(frame), matrix, strict=True):
            fx, fy = round(frame.width / samples.shape[1]), round(frame.height / samples.shape[0])
            old, new, gone = (_subsampled(a, fx, fy, offset) for a in (_mixed(before, row), _mixed(after, row), moved))
            here = samples[y // fy : y // fy + old.shape[0], x // fx : x // fx + old.shape[1]]
            rest = here - old
            coarse = rest - rest.clip(-grain, grain)
            made = here + (new - old) - coarse * gone.clip(max=1)
            here[:] = np.rint(made).clip(0, 2**depth - 1)


def _samples(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views of the samples of a frame without alpha: Y, Cb, Cr, or R, G, B."""
    name, width = frame.format.name, frame.width
    if name in ("bgr0", "bgra"):
        pixels = rows_of(frame, 0)[:, : 4 * width].reshape(frame.height, width, 4)
        return [pixels[..., k] for k in (2, 1, 0)]
    deep = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    order = (2, 0, 1) if frame.format.is_rgb else range(min(3, len(frame.format.components)))
    return [rows_of(frame, k, deep)[:, : frame.planes[k].width] for k in order]


def _mixed(rgb: np.ndarray, row: np.ndarray) -> np.ndarray:
    """(h,w) float32: a row of `to_yuv` times (3,h,w) uint8."""
    red, green, blue, offset = row.tolist()
    mixed = cv2.addWeighted(rgb[0], red, rgb[1], green, offset, dtype=cv2.CV_32F)
    return cv2.scaleAdd(rgb[2].astype(np.float32), blue, mixed)


def _subsampled(full: np.ndarray, fx: int, fy: int, offset: tuple[float, float]) -> np.ndarray:
    """(h,w) float32 at colour samples of `fx` by `fy` pixels, that lie `offset` pixels from the first of each."""
    if fx == fy == 1:
        return full
    height, width = full.shape
    full = cv2.copyMakeBorder(full, 0, -height % fy, 0, -width % fx, cv2.BORDER_REPLICATE)
    sharing = [
        [0.25, 0.5, 0.25] if factor == 2 and at == 0 else [1 / factor] * factor
        for factor, at in ((fx, offset[0]), (fy, offset[1]))
    ]
    kernels = [np.array(weights, np.float32) for weights in sharing]
    anchor = (1 if fx == 2 and offset[0] == 0 else 0, 1 if fy == 2 and offset[1] == 0 else 0)
    border = cv2.BORDER_REPLICATE
    return cv2.sepFilter2D(full, cv2.CV_32F, *kernels, anchor=anchor, borderType=border)[::fy, ::fx]
