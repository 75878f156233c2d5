"""Speech made to fit its slot: faster, its pitch kept (FFmpeg's atempo: waveform similarity overlap-add, Verhelst and
Roelands 1993)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import numpy as np

from audio.soundtrack import samples_of, sound_kind
from media.container import InputLimits
from media.sound import LAYOUTS

#: Speech is sped up by no more than this: beyond, it is heard.
MOST = Fraction(110, 100)


def write_faster(speech: Path, out: Path, tempo: Fraction, limits: InputLimits = InputLimits()) -> None:
    """Writes a WAV file (24 bits, the speech's own rate and channels) that lasts as long as `speech` over `tempo`, to
    the sample; what is said at t is said at t over `tempo`, within some 10 ms. MediaError: unreadable."""
    rate, n_channels = sound_kind(speech, limits)
    layout, n_read, n_done = LAYOUTS[n_channels], 0, 0
    n_skipped = rate // 10  # atempo begins with a fade: that of a mirror image of the beginning

    def counted() -> Iterator[np.ndarray]:
        nonlocal n_read, n_skipped
        pieces, head = samples_of(speech, rate, n_channels, limits), np.zeros((n_channels, 0), np.float32)
        while head.shape[1] < n_skipped * tempo and (piece := next(pieces, None)) is not None:
            head = np.concatenate([head, piece], 1)
        mirror = head[:, : round(n_skipped * tempo)][:, ::-1]
        n_skipped = round(mirror.shape[1] / tempo)
        yield mirror
        for piece in chain([head], pieces):
            n_read += piece.shape[1]
            yield piece
        yield np.zeros((n_channels, rate // 5), np.float32)  # pushes the last of the speech out

    with av.open(str(out), "w", format="wav", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("pcm_s24le", rate=rate)
        stream.codec_context.layout, stream.codec_context.format = layout, "s32"
        held = np.zeros((n_channels, 0), np.float32)
        for piece in _faster(counted(), rate, layout, tempo):
            piece, n_skipped = piece[:, n_skipped:], max(0, n_skipped - piece.shape[1])
            ready = min(held.shape[1], round(n_read / tempo) - n_done)
            if ready > 0:
                container.mux(stream.encode(_frame(held[:, :ready], rate, layout, n_done)))
                n_done += ready
            held = np.concatenate([held[:, max(0, ready) :], piece], 1)
        n_left = round(n_read / tempo) - n_done
        if n_left > 0:
            last = np.zeros((n_channels, n_left), np.float32)
            last[:, : held.shape[1]] = held[:, :n_left]
            container.mux(stream.encode(_frame(last, rate, layout, n_done)))
        container.mux(stream.encode(None))


def _faster(pieces: Iterator[np.ndarray], rate: int, layout: str, tempo: Fraction) -> Iterator[np.ndarray]:
    """(C,n) float32 through atempo."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="fltp", sample_rate=rate, layout=layout, time_base=Fraction(1, rate))
    filters = [source, graph.add("atempo", f"{float(tempo):.9f}"), graph.add("abuffersink")]
    graph.link_nodes(*filters).configure()
    n = 0
    for piece in pieces:
        source.push(_frame(piece, rate, layout, n))
        n += piece.shape[1]
        yield from _pulled(filters[-1])
    source.push(None)
    yield from _pulled(filters[-1])


def _pulled(sink: Any) -> Iterator[np.ndarray]:
    while True:
        try:
            frame = sink.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if frame.format.is_planar:
            yield frame.to_ndarray()
        else:
            yield frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T


def _frame(values: np.ndarray, rate: int, layout: str, at: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
    return frame
