"""Colour tags of a video, and the one place where YUV becomes RGB and RGB becomes YUV.

Code numbers are those of ITU-T H.273, which FFmpeg uses too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import av
import av.error
import av.filter
import av.video.stream
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

UNSPECIFIED = 2
LIMITED, FULL = 1, 2
RGB, BT709, BT470BG, SMPTE170M, BT2020_NCL, BT2020_CL = 0, 1, 5, 6, 9, 10
_PQ, _HLG = 16, 18

#: Matrix code -> swscale's number for the same coefficients.
_COEFFICIENTS = {RGB: 1, BT709: 1, 4: 4, BT470BG: 5, SMPTE170M: 5, 7: 7, BT2020_NCL: 9, BT2020_CL: 9}

#: Matrix code -> weights of red and blue in luma, from the same standards.
_LUMA = {BT709: (0.2126, 0.0722), 4: (0.30, 0.11), BT470BG: (0.299, 0.114), SMPTE170M: (0.299, 0.114)}
_LUMA |= {7: (0.212, 0.087), BT2020_NCL: (0.2627, 0.0593), BT2020_CL: (0.2627, 0.0593)}
#: FFmpeg's name of where colour samples lie -> pixels right of and below the first of the pixels that share one.
SITINGS = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0), "bottomleft": (0.0, 1.0)}

# Plain BILINEAR rounds down: it darkens by 1.2 levels and, in places, wraps. Bicubic with these flags is unbiased and a
# second round trip through 4:2:0 costs almost nothing (60 dB).
SCALING = int(
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


@dataclass(frozen=True, slots=True)
class ColourTags:
    """How the numbers of a video mean colours: H.273 codes, 2 = not said. range: 0 = not said, 1 = limited (16..235), 2
    = full."""

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    range: int = 0

    def resolved(self, width: int, height: int) -> ColourTags:
        """The same tags with nothing left unsaid: as players guess, BT.709 from 720 lines up and BT.601 below; limited
        range."""
        high = max(width, height) >= 1280 or min(width, height) >= 720
        pal = not high and (width, height) in ((720, 576), (704, 576), (352, 288), (360, 288))
        matrix = self.matrix if self.matrix in _COEFFICIENTS else (BT709 if high else BT470BG if pal else SMPTE170M)
        fitting = {RGB: 1, BT709: 1, BT470BG: 5, BT2020_NCL: 9, BT2020_CL: 9}.get(matrix, 6)
        transfer = {9: 14, 6: 6, 5: 6}.get(fitting, 1)
        return ColourTags(
            matrix,
            fitting if self.primaries in (0, UNSPECIFIED) else self.primaries,
            transfer if self.transfer in (0, UNSPECIFIED) else self.transfer,
            self.range or LIMITED,
        )

    @property
    def coefficients(self) -> int:
        """swscale's number for the matrix."""
        return _COEFFICIENTS[self.matrix]

    @property
    def high_dynamic_range(self) -> bool:
        """PQ or HLG."""
        return self.transfer in (_PQ, _HLG)


def to_yuv(tags: ColourTags, bits: int) -> np.ndarray:
    """(3,4) float32 matrix from 8-bit RGB to samples of so many bits: Y, Cb, Cr, or R, G, B for the matrix RGB. `tags`
    must be resolved. ITU-R BT.601, BT.709, BT.2020; ranges as in H.273."""
    full, unit = tags.range == FULL, 2.0 ** (bits - 8)
    whole = (2.0**bits - 1) / 255
    if tags.matrix == RGB:
        return (np.eye(3, 4) * whole).astype(np.float32)
    red, blue = _LUMA[tags.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    y, c = (whole, whole) if full else (219 * unit / 255, 224 * unit / 255)
    cb, cr = (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)
    offsets = [0 if full else 16 * unit, 128 * unit, 128 * unit]
    return np.column_stack([np.stack([y * luma, c * cb, c * cr]), offsets]).astype(np.float32)


class Converter:
    """YUV frames to planar RGB and back with exact matrices and ranges. `tags` must be resolved. Not for two threads at
    once.

    siting: where made YUV has its colour samples, FFmpeg's name; players of H.264 and H.265 assume "left". (When
    reading, each frame says so itself.) The wrong one moves colour by half a pixel at every re-encoding."""

    def __init__(self, tags: ColourTags, width: int, height: int, siting: str = "center") -> None:
        if tags.matrix not in _COEFFICIENTS or not tags.range:
            raise ValueError(f"Converter wants resolved colour tags, got {tags}")
        self.tags, self.width, self.height = tags, width, height
        self._coefficients = tags.coefficients
        self._scale = VideoReformatter()
        self._packed = _sited(width, height, siting)

    def planes(self, frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Red, green, blue: three (H,W) uint8 arrays, valid while they are referenced."""
        rgb = self._scale.reformat(
            frame,
            self.width,
            self.height,
            "gbrp",
            interpolation=SCALING,
            src_colorspace=self._coefficients,
            src_color_range=self.tags.range,
            dst_color_range=FULL,
        )
        red, green, blue = (rows_of(rgb, k)[:, : self.width] for k in (2, 0, 1))
        return red, green, blue

    def frame(self, rgb: np.ndarray, pix_fmt: str) -> av.VideoFrame:
        """A frame of `pix_fmt`, tagged, from (3,H,W) uint8."""
        for channel, plane in zip(rgb, (2, 0, 1), strict=True):
            rows_of(self._packed, plane)[:, : self.width] = channel
        out = self._scale.reformat(
            self._packed,
            self.width,
            self.height,
            pix_fmt,
            interpolation=SCALING,
            dst_colorspace=self._coefficients,
            src_color_range=FULL,
            dst_color_range=self.tags.range,
        )
        out.colorspace, out.color_range = self.tags.matrix, self.tags.range
        out.color_primaries, out.color_trc = self.tags.primaries, self.tags.transfer
        return out


def siting_of(frame: av.VideoFrame) -> str:
    """FFmpeg's name of where a frame's colour samples lie, as its scaler takes it. PyAV does not tell: found by
    converting a ramp of colour."""
    planes = frame.format.components
    if not re.fullmatch(r"yuv[aj]?4\d\dp(\d+le)?", frame.format.name) or min(frame.width, frame.height) < 16:
        return "left"
    step = [round(full / part) for full, part in ((frame.width, planes[1].width), (frame.height, planes[1].height))]
    if 2 not in step:
        return "left"
    size = [min(side, 64) // 2 * 2 for side in (frame.width, frame.height)]
    try:
        found = [_ramp_offset(frame, size, axis) if step[axis] == 2 else 0.5 for axis in (0, 1)]
    except (av.error.FFmpegError, ValueError):  # no such filter
        return "left"
    return min(SITINGS, key=lambda name: np.hypot(*np.subtract(SITINGS[name], found)))


def _ramp_offset(frame: av.VideoFrame, size: list[int], axis: int) -> float:
    """Pixels from the first of two pixels along the axis (0 = x) to the colour sample that they share."""
    part = passed(frame, f"crop={size[0]}:{size[1]}:0:0")
    part.make_writable()
    depth = part.format.components[0].bits
    kind, level = (np.uint8 if depth == 8 else np.uint16), 2 ** (depth - 8)
    for k in range(3):
        rows_of(part, k, kind)[:] = 128 * level
    blue = rows_of(part, 1, kind)[:, : part.planes[1].width]
    ramp = 80 + 3 * np.arange(blue.shape[1 - axis])
    blue[:] = (ramp if axis == 0 else ramp[:, None]) * level
    tags = ColourTags(BT709, 1, 1, FULL)
    seen = Converter(tags, size[0], size[1]).planes(part)[2].mean(axis)[4:-4]
    shared = ((seen - 128) / 1.8556 + 128 - 80) / 3
    return float(np.mean(np.arange(4, 4 + len(seen)) - 2 * shared))


def passed(frame: av.VideoFrame, by: str) -> av.VideoFrame:
    """A frame through one of FFmpeg's filters, such as "null": an object of its own."""
    return passing(frame.format.name, frame.width, frame.height, by)(frame)


def passing(pix_fmt: str, width: int, height: int, by: str) -> Callable[[av.VideoFrame], av.VideoFrame]:
    """Puts frames of one kind through one of FFmpeg's filters."""
    graph = av.filter.Graph()
    nodes = [
        graph.add("buffer", f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base=1/25"),
        graph.add(*by.split("=", 1)),
        graph.add("buffersink"),
    ]
    for a, b in itertools.pairwise(nodes):
        a.link_to(b)
    graph.configure()

    def through(frame: av.VideoFrame) -> av.VideoFrame:
        graph.push(frame)
        return cast(av.VideoFrame, graph.pull())

    return through


def _sited(width: int, height: int, siting: str) -> av.VideoFrame:
    """A planar RGB frame whose conversions put colour samples there. PyAV has no setter for this; a filter does."""
    frame = av.VideoFrame(width, height, "gbrp")
    frame.pts = 0
    try:
        return passed(frame, f"setparams=chroma_location={siting}")
    except (av.error.FFmpegError, ValueError):  # a filter older than the option: its scaler does not ask for it either
        return frame


def rows_of(frame: av.VideoFrame, k: int, kind: type = np.uint8) -> np.ndarray:
    """The memory of plane k, (rows, samples and padding)."""
    plane: Any = frame.planes[k]  # has a buffer
    return np.frombuffer(plane, kind).reshape(plane.height, -1)
