"""Colour tags of a video, and the one place where YUV becomes RGB and RGB becomes YUV.

Code numbers are those of ITU-T H.273, which FFmpeg uses too.
"""

from __future__ import annotations

import itertools
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

# Plain BILINEAR rounds down: it darkens by 1.2 levels and, in places, wraps. Bicubic with these flags is unbiased and a
# second round trip through 4:2:0 costs almost nothing (60 dB).
_SCALING = int(
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
    def high_dynamic_range(self) -> bool:
        """PQ or HLG: eight bits will band."""
        return self.transfer in (_PQ, _HLG)


class Converter:
    """YUV frames to planar RGB and back with exact matrices and ranges. `tags` must be resolved. Not for two threads at
    once.

    left: made YUV has its colour samples at the left pixel of each pair, as players of H.264 and H.265 assume;
    otherwise between the two. (When reading, each frame says so itself.) The wrong one moves colour by half a pixel at
    every re-encoding."""

    def __init__(self, tags: ColourTags, width: int, height: int, left: bool = False) -> None:
        if tags.matrix not in _COEFFICIENTS or not tags.range:
            raise ValueError(f"Converter wants resolved colour tags, got {tags}")
        self.tags, self.width, self.height = tags, width, height
        self._coefficients = _COEFFICIENTS[tags.matrix]
        self._scale = VideoReformatter()
        self._packed = _left_sited(width, height) if left else av.VideoFrame(width, height, "gbrp")

    def planes(self, frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Red, green, blue: three (H,W) uint8 arrays, valid while they are referenced."""
        rgb = self._scale.reformat(
            frame,
            self.width,
            self.height,
            "gbrp",
            interpolation=_SCALING,
            src_colorspace=self._coefficients,
            src_color_range=self.tags.range,
            dst_color_range=FULL,
        )
        red, green, blue = (_plane(rgb, k)[:, : self.width] for k in (2, 0, 1))
        return red, green, blue

    def frame(self, rgb: np.ndarray, pix_fmt: str) -> av.VideoFrame:
        """A frame of `pix_fmt`, tagged, from (3,H,W) uint8."""
        for channel, plane in zip(rgb, (2, 0, 1), strict=True):
            _plane(self._packed, plane)[:, : self.width] = channel
        out = self._scale.reformat(
            self._packed,
            self.width,
            self.height,
            pix_fmt,
            interpolation=_SCALING,
            dst_colorspace=self._coefficients,
            src_color_range=FULL,
            dst_color_range=self.tags.range,
        )
        out.colorspace, out.color_range = self.tags.matrix, self.tags.range
        out.color_primaries, out.color_trc = self.tags.primaries, self.tags.transfer
        return out


def _left_sited(width: int, height: int) -> av.VideoFrame:
    """A planar RGB frame whose conversions put colour samples to the left. PyAV has no setter for this; a filter
    does."""
    graph = av.filter.Graph()
    try:
        nodes = [
            graph.add("buffer", f"video_size={width}x{height}:pix_fmt=gbrp:time_base=1/25"),
            graph.add("setparams", "chroma_location=left"),
            graph.add("buffersink"),
        ]
        for a, b in itertools.pairwise(nodes):
            a.link_to(b)
        graph.configure()
    except (av.error.FFmpegError, ValueError):  # a filter older than the option: its scaler does not ask for it either
        return av.VideoFrame(width, height, "gbrp")
    frame = av.VideoFrame(width, height, "gbrp")
    frame.pts = 0
    graph.push(frame)
    return cast(av.VideoFrame, graph.pull())


def _plane(frame: av.VideoFrame, k: int) -> np.ndarray:
    plane: Any = frame.planes[k]  # has a buffer
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
