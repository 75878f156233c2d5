"""A frame of which only the parts asked for become RGB: a face takes up little of a large picture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import av
import av.filter
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from video.colour import FULL, SCALING, rows_of
from video.probe import VideoStream

#: (x0, y0, x1, y1), whole pixels of the upright picture, the last ones exclusive.
Rect = tuple[int, int, int, int]
_EXACT = int(Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP)
_AREA, _POINT = int(Interpolation.AREA) | _EXACT, int(Interpolation.POINT) | _EXACT
#: Pixels around a part that filters of colour samples reach; parts are cut on this grid, so that few sizes occur.
_MARGIN, _GRID = 8, 32
#: Pixel formats whose first plane is luma of 8 bits, in the range that the tags say.
_LUMA_FIRST = frozenset({"yuv420p", "yuv422p", "yuv444p", "nv12"})
#: Scalers and cutters kept.
_KEPT = 48


class Picture(Protocol):
    """One upright frame. width, height: pixels."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def part(self, box: Rect) -> np.ndarray:
        """(h,w,3) uint8 RGB of a box that lies in the picture."""
        ...

    def shrunk(self, box: Rect, width: int, height: int) -> np.ndarray:
        """(height,width,3) uint8 RGB: a box that lies in the picture, averaged down. Boxes begin at multiples of 4, as
        pixels share samples of colour."""
        ...

    def blocks(self, block: int, step: int) -> tuple[np.ndarray, np.ndarray, float]:
        """(3,h,w) uint8 means of whole blocks of so many pixels, (h',w') uint8 brightness at every `step`-th pixel of
        those blocks, and by what its differences are to be multiplied to be levels. Brightness: the luma of the file
        where that is 8 bits in a plane of its own, else green. Upright or not."""
        ...


class RgbPicture:
    """A picture that is RGB already, (H,W,3) uint8."""

    def __init__(self, rgb: np.ndarray) -> None:
        if rgb.ndim != 3 or rgb.dtype != np.uint8 or rgb.shape[2] != 3:
            raise ValueError(f"a picture is (H,W,3) uint8, got {rgb.shape} {rgb.dtype}")
        self.rgb, (self.height, self.width) = rgb, rgb.shape[:2]

    def part(self, box: Rect) -> np.ndarray:
        x0, y0, x1, y1 = box
        return np.ascontiguousarray(self.rgb[y0:y1, x0:x1])

    def shrunk(self, box: Rect, width: int, height: int) -> np.ndarray:
        import cv2

        return cv2.resize(self.part(box), (width, height), interpolation=cv2.INTER_AREA)

    def blocks(self, block: int, step: int) -> tuple[np.ndarray, np.ndarray, float]:
        import cv2

        size = (self.width // block, self.height // block)
        inside = self.rgb[: size[1] * block, : size[0] * block]
        small = cv2.resize(np.ascontiguousarray(inside), size, interpolation=cv2.INTER_AREA)
        return small.transpose(2, 0, 1), np.ascontiguousarray(inside[::step, ::step, 1]), 1.0


class HeldPicture:
    """A picture of which one box has been made RGB at once, for several who look there."""

    def __init__(self, picture: Picture, box: Rect) -> None:
        self.width, self.height, self._picture, self._box = picture.width, picture.height, picture, box
        self._held = RgbPicture(picture.part(box))

    def _inside(self, box: Rect) -> tuple[Picture, Rect]:
        """What holds a box, and where."""
        x0, y0, x1, y1 = self._box
        if box[0] < x0 or box[1] < y0 or box[2] > x1 or box[3] > y1:
            return self._picture, box
        return self._held, (box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0)

    def part(self, box: Rect) -> np.ndarray:
        held, box = self._inside(box)
        return held.part(box)

    def shrunk(self, box: Rect, width: int, height: int) -> np.ndarray:
        held, box = self._inside(box)
        return held.shrunk(box, width, height)

    def blocks(self, block: int, step: int) -> tuple[np.ndarray, np.ndarray, float]:
        return self._picture.blocks(block, step)


def pictured(picture: Picture | np.ndarray) -> Picture:
    """The picture; of (H,W,3) uint8 RGB, one."""
    return RgbPicture(picture) if isinstance(picture, np.ndarray) else picture


def whole(picture: Picture) -> np.ndarray:
    """(H,W,3) uint8 RGB of all of it."""
    return picture.part((0, 0, picture.width, picture.height))


def inside(picture: Picture, low: np.ndarray, high: np.ndarray) -> Rect:
    """The whole pixels of a picture that (x, y) `low` to `high` touch; one pixel at its edge where they lie outside."""
    size = np.array([picture.width, picture.height])
    low = np.clip(np.floor(low).astype(int), 0, size - 1)
    high = np.clip(np.ceil(high).astype(int), low + 1, size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


class FramePicture:
    """A decoded frame, cut by the `Cutter` of its stream."""

    def __init__(self, frame: av.VideoFrame, cutter: Cutter) -> None:
        self._frame, self._cutter = frame, cutter
        self.width, self.height = cutter.width, cutter.height

    def part(self, box: Rect) -> np.ndarray:
        return self._cutter.upright(self._planes(box))

    def _planes(self, box: Rect) -> list[np.ndarray]:
        """Red, green and blue of a box, as stored."""
        (x0, y0, x1, y1), (width, height) = self._cutter.stored(box), self._cutter.stored_size
        outer = (
            max(0, x0 - _MARGIN) // _GRID * _GRID,
            max(0, y0 - _MARGIN) // _GRID * _GRID,
            min(width, -(-(x1 + _MARGIN) // _GRID) * _GRID),
            min(height, -(-(y1 + _MARGIN) // _GRID) * _GRID),
        )
        planes = self._cutter.planes(self._frame, outer, outer[2] - outer[0], outer[3] - outer[1], SCALING)
        inner = np.s_[y0 - outer[1] : y1 - outer[1], x0 - outer[0] : x1 - outer[0]]
        return [plane[inner] for plane in planes]

    def copy(self, box: Rect, out: np.ndarray) -> None:
        """Fills out, (3,h,w) uint8, with the RGB of a box."""
        for plane, target in zip(self._planes(box), out, strict=True):
            target[:] = self._cutter.turn(plane)

    def shrunk(self, box: Rect, width: int, height: int) -> np.ndarray:
        size = (height, width) if self._cutter.turned else (width, height)
        return self._cutter.upright(self._cutter.planes(self._frame, self._cutter.stored(box), *size, _AREA))

    def blocks(self, block: int, step: int) -> tuple[np.ndarray, np.ndarray, float]:
        width, height = (side // block for side in self._cutter.stored_size)
        box = (0, 0, width * block, height * block)
        small = np.stack(self._cutter.planes(self._frame, box, width, height, _AREA))
        luma = self._cutter.luma(self._frame)
        if luma is not None:
            return small, np.ascontiguousarray(luma[: box[3] : step, : box[2] : step]), self._cutter.luma_scale
        n_x, n_y = box[2] // step, box[3] // step
        green = self._cutter.planes(self._frame, (0, 0, n_x * step, n_y * step), n_x, n_y, _POINT)[1]
        return small, np.ascontiguousarray(green), 1.0


class Cutter:
    """Cuts and scales decoded frames of one stream, in their own pixel format, and makes RGB of what is left; for one
    thread at a time, others wait."""

    def __init__(self, stream: VideoStream) -> None:
        self.width, self.height = stream.width, stream.height
        self._flip_x, self._flip_y, self.turned = stream.orientation
        self.stored_size = (self.height, self.width) if self.turned else (self.width, self.height)
        self._tags = stream.colour.resolved(*self.stored_size)
        self._cutters: dict[tuple[str, int, int], Callable[[av.VideoFrame, int, int], av.VideoFrame]] = {}
        self._scalers: dict[tuple, VideoReformatter] = {}
        self._one = threading.Lock()

    def stored(self, box: Rect) -> Rect:
        """The box of the stored picture that becomes this one of the upright one."""
        x0, y0, x1, y1 = box
        if self._flip_x:
            x0, x1 = self.width - x1, self.width - x0
        if self._flip_y:
            y0, y1 = self.height - y1, self.height - y0
        return (y0, x0, y1, x1) if self.turned else (x0, y0, x1, y1)

    def upright(self, planes: list[np.ndarray]) -> np.ndarray:
        """(h,w,3) of stored red, green and blue."""
        import cv2

        return np.ascontiguousarray(self.turn(cv2.merge(planes)))

    def turn(self, stored: np.ndarray) -> np.ndarray:
        """A view of a stored plane or picture, upright."""
        stored = stored.swapaxes(0, 1) if self.turned else stored
        return stored[:: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1]

    def planes(self, frame: av.VideoFrame, box: Rect, width: int, height: int, scaling: int) -> list[np.ndarray]:
        """Red, green and blue of a box of the stored picture, (height,width) uint8 each."""
        x0, y0, x1, y1 = box
        with self._one:
            if (frame.width, frame.height) != self.stored_size:  # some files change their size on the way
                frame = self._scaled(frame, *self.stored_size, SCALING)
            if box != (0, 0, *self.stored_size):
                frame = self._cut(frame, x1 - x0, y1 - y0)(frame, x0, y0)
            rgb = self._scaled(frame, width, height, scaling)
        return [rows_of(rgb, k)[:, :width] for k in (2, 0, 1)]

    def luma(self, frame: av.VideoFrame) -> np.ndarray | None:
        """(H,W) uint8 view of the stored luma; None where the frame keeps none like that."""
        if frame.format.name not in _LUMA_FIRST or (frame.width, frame.height) != self.stored_size:
            return None
        return rows_of(frame, 0)[:, : frame.width]

    @property
    def luma_scale(self) -> float:
        """Levels for each step of luma."""
        return 1.0 if self._tags.range == FULL else 255 / 219

    def _scaled(self, frame: av.VideoFrame, width: int, height: int, scaling: int) -> av.VideoFrame:
        key = (frame.format.name, frame.width, frame.height, width, height, scaling)
        scaler = _kept(self._scalers, key, VideoReformatter)
        rgb_already = frame.format.name == "gbrp"
        return scaler.reformat(
            frame,
            width,
            height,
            "gbrp",
            interpolation=scaling,
            src_colorspace=self._tags.coefficients,
            src_color_range=FULL if rgb_already else self._tags.range,
            dst_color_range=FULL,
            threads=1,
        )

    def _cut(self, frame: av.VideoFrame, width: int, height: int) -> Callable[[av.VideoFrame, int, int], av.VideoFrame]:
        key = (frame.format.name, width, height)
        return _kept(self._cutters, key, lambda: _crop(frame, width, height))


def _kept(store: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """What is stored under a key, made where nothing is; the store stays small."""
    if key not in store:
        if len(store) >= _KEPT:
            store.clear()
        store[key] = make()
    return store[key]


def _crop(frame: av.VideoFrame, width: int, height: int) -> Callable[[av.VideoFrame, int, int], av.VideoFrame]:
    """FFmpeg's filter of that name, which copies nothing: cuts boxes of one size out of frames of one kind."""
    graph: Any = av.filter.Graph()
    size = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/25"
    crop = graph.add("crop", f"w={width}:h={height}:x=0:y=0:exact=1")
    source, sink = graph.add("buffer", size), graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure()

    def cut(picture: av.VideoFrame, x: int, y: int) -> av.VideoFrame:
        crop.process_command("x", str(x))
        crop.process_command("y", str(y))
        graph.push(picture)
        return graph.pull()

    return cut
