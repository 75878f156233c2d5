"""Long videos written in ranges of rows, each a file of its own, so that a stopped one goes on; joined packet by
packet, nothing encoded twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import av.video.stream
import numpy as np
import torch

from media import MediaError
from media.atomic import atomic_write
from media.container import InputLimits, open_media
from media.sound import Sound
from video.carry import Carry
from video.clock import FrameBatch, FrameClock
from video.write import Seal, VideoWriter, WrittenVideo


class RangedWriter:
    """`VideoWriter` for a long video: every `range_rows` rows go to a file in `folder` (it stays there; remove it when
    the video is kept).

    todo: the rows that the folder does not hold yet: those after whole ranges from the first on. At a clean exit
    the ranges become `path`. picture: width, height, colour, codec, crf, preset, sample_aspect, as for `VideoWriter`.
    Raises MediaError."""

    def __init__(
        self,
        path: str | Path,
        folder: Path,
        range_rows: int,
        *,
        clock: FrameClock,
        speech: str | Path | Sound | None = None,
        audio_end_s: Fraction | None = None,
        metadata: dict[str, str] | None = None,
        rate: Fraction | None = None,
        limits: InputLimits = InputLimits(),
        carry: Carry | None = None,
        language: str = "",
        seal: Seal | None = None,
        **picture: Any,
    ) -> None:
        self.path, self.clock, self._rate = Path(path), clock, rate or clock.rate
        self._facts: WrittenVideo | None = None
        self._folder, self._picture = Path(folder), picture
        self._ranges = [(first, min(first + range_rows, len(clock))) for first in range(0, len(clock), range_rows)]
        self._joined = _Joined(
            self.path,
            clock=clock,
            speech=speech,
            audio_end_s=audio_end_s,
            metadata=metadata,
            limits=limits,
            carry=carry,
            language=language,
            seal=seal,
            **picture,
        )
        self._writer: VideoWriter | None = None
        self._row, self.todo = 0, list[slice]()

    def __enter__(self) -> RangedWriter:
        for rows in self._ranges:
            if not self._is_whole(rows):
                break
            self._row = rows[1]
        self.todo = [slice(self._row, len(self.clock))] if self._row < len(self.clock) else []
        return self

    @property
    def facts(self) -> WrittenVideo:
        """What was written. RuntimeError before a clean exit."""
        if self._facts is None:
            raise RuntimeError("RangedWriter: not finished")
        return self._facts

    def write(self, rgb: torch.Tensor, beneath: FrameBatch | None = None) -> None:
        """Appends (B,3,H,W) uint8 frames, as `VideoWriter.write`."""
        while len(rgb):
            if self._row >= len(self.clock):
                raise ValueError(f"RangedWriter: {self._row + len(rgb)} frames for a clock of {len(self.clock)}")
            rows = next(r for r in self._ranges if r[0] <= self._row < r[1])
            if self._writer is None:
                self._writer = VideoWriter(
                    self._file(rows), clock=_part_of(self.clock, rows), rate=self._rate, **self._picture
                ).__enter__()
            n = min(len(rgb), rows[1] - self._row)
            self._writer.write(rgb[:n], beneath and beneath.part(slice(n)))
            self._row, rgb, beneath = self._row + n, rgb[n:], beneath and beneath.part(slice(n, None))
            if self._row == rows[1]:
                self._end_range(None, None, None)

    def __exit__(self, kind, error, trace) -> None:
        if self._writer is not None:
            self._end_range(kind or GeneratorExit, error, trace)
        if kind is None:
            if self._row != len(self.clock):
                raise ValueError(f"RangedWriter: {self._row} frames written for a clock of {len(self.clock)}")
            self._facts = self._joined.join([self._file(rows) for rows in self._ranges])

    def _end_range(self, kind, error, trace) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.__exit__(kind, error, trace)
        if kind is None:
            with atomic_write(_digest_file(writer.path)) as part:
                part.write_text(_sha256(writer.path))

    def _file(self, rows: tuple[int, int]) -> Path:
        return self._folder / f"rows-{rows[0]:08d}-{rows[1]:08d}{self.path.suffix}"

    def _is_whole(self, rows: tuple[int, int]) -> bool:
        file = self._file(rows)
        try:
            return _digest_file(file).read_text() == _sha256(file)
        except (OSError, UnicodeDecodeError):
            return False


class _Joined(VideoWriter):
    """The written ranges as one video with the speech. Times are those of the clock, whatever the ranges' container
    rounded them to."""

    def join(self, files: list[Path]):
        self._files = files
        self._orders = [
            _decode_order([(p.pts or 0) * (p.time_base or Fraction(1)) for p in _packets(file, self._limits)])
            for file in files
        ]
        with self:
            self._written = len(self.clock)
        return self.facts

    def _add_picture(self) -> av.video.stream.VideoStream:
        self._choose_format()  # with its notes
        with _opened(self._files[0], self._limits) as first:
            template = first.streams.video[0]
            self._extradata, self._pix_fmt = template.codec_context.extradata, template.codec_context.pix_fmt
            no_encoder = template.codec_context.name == "libdav1d"  # has the name of its decoder only
            stream = self._container.add_stream_from_template(template, opaque=no_encoder)
        stream.time_base = self.clock.base
        return stream

    def _encode_all(self) -> None:
        ticks = (self.clock.pts - self.clock.pts[0]).tolist()
        durations = np.diff(self.clock.pts, append=self.clock.end).tolist()
        rows = [first + row for first, order in zip(_starts(self._orders), self._orders, strict=True) for row in order]
        delay = max(i - row for i, row in enumerate(rows))  # a packet is decoded no later than it is shown
        step = ticks[1] - ticks[0] if len(ticks) > 1 else durations[0]
        packets = (packet for file in self._files for packet in self._same_kind(file))
        for i, (row, packet) in enumerate(zip(rows, packets, strict=True)):
            packet.time_base, packet.pts, packet.duration = self.clock.base, ticks[row], durations[row]
            packet.dts = ticks[i - delay] if i >= delay else ticks[0] - (delay - i) * step
            packet.stream = self._video
            self._container.mux(packet)
            self._mux_beside(ticks[row] * self.clock.base)
        self._mux_beside(None)

    def _same_kind(self, file: Path) -> Iterator[av.Packet]:
        with _opened(file, self._limits) as container:
            if container.streams.video[0].codec_context.extradata != self._extradata:
                raise MediaError(
                    f"{self.path}: its ranges were written by different encoders. Run the command again after `lipsync "
                    "cache clear`."
                )
        yield from _packets(file, self._limits)


def _part_of(clock: FrameClock, rows: tuple[int, int]) -> FrameClock:
    end = clock.end if rows[1] == len(clock) else int(clock.pts[rows[1]])
    return FrameClock(clock.pts[rows[0] : rows[1]], clock.base, end)


def _digest_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _decode_order(times: list[Fraction]) -> list[int]:
    """For each packet of a range, in the order of decoding, which of the range's rows it is: its rank in time."""
    return np.argsort(np.argsort(np.array([float(t) for t in times]), kind="stable"), kind="stable").tolist()


def _starts(orders: list[list[int]]) -> list[int]:
    return np.cumsum([0, *(len(order) for order in orders[:-1])]).tolist()


def _packets(file: Path, limits: InputLimits) -> Iterator[av.Packet]:
    with _opened(file, limits) as container:
        try:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    yield packet
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"{file} is damaged ({error}). Run the command again.") from error


def _opened(file: Path, limits: InputLimits) -> av.container.InputContainer:
    try:
        container = open_media(file, limits)
    except (MediaError, av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{file} is damaged ({error}). Run the command again.") from error
    if not container.streams.video:
        container.close()
        raise MediaError(f"{file} is damaged (no picture). Run the command again.")
    return container
