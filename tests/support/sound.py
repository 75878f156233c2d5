"""Made sound whose every part can be told apart: a tone of one level, with clicks at known times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from media.sound import LAYOUTS, planes_of, time_of

TONE_HZ, TONE, CLICK = 220.0, 0.1, 0.8


def tone_with_clicks(
    length_s: float, rate: int, clicks_s: list[float], from_s: float = 0.0, tone: float = TONE
) -> np.ndarray:
    """(S,) a tone as if it had begun `from_s` earlier, and clicks of 2 ms around their times."""
    t = np.arange(round(length_s * rate)) / rate
    out = tone * np.sin(2 * np.pi * TONE_HZ * (t + from_s))
    for at in clicks_s:
        near = np.abs(t - at) < 0.001
        out[near] += CLICK * np.cos(np.pi * (t[near] - at) / 0.002) ** 2 * np.cos(2 * np.pi * 3000 * (t[near] - at))
    return out.astype(np.float32)


def write_sound(path: Path, channels: np.ndarray, rate: int, codec: str, kind: str = "fltp") -> Path:
    """(C,S) as a sound file."""
    with av.open(str(path), "w") as out:
        track: Any = out.add_stream(codec, rate=rate)
        track.codec_context.layout = LAYOUTS[len(channels)]
        track.codec_context.format = kind
        if codec in ("aac", "libopus"):
            track.codec_context.bit_rate = 192_000
        for at in range(0, channels.shape[1], 1024):
            piece = np.ascontiguousarray(channels[:, at : at + 1024], np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=LAYOUTS[len(channels)])
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return path


def heard_in(path: Path, length_s: float) -> tuple[np.ndarray, int]:
    """((C,S), rate): what a player plays from the first picture on, by the timestamps."""
    with av.open(str(path)) as media:
        first: Any = next(media.decode(video=0)).time if media.streams.video else 0.0
    with av.open(str(path)) as media:
        track: Any = media.streams.audio[0]
        rate = track.codec_context.sample_rate
        out = np.zeros((track.codec_context.channels, round(length_s * rate)))
        for frame in media.decode(audio=0):
            values, at = planes_of(frame), round(float(time_of(frame) or 0) * rate - first * rate)
            lo, hi = max(0, at), min(out.shape[1], at + values.shape[1])
            if hi > lo:
                out[:, lo:hi] = values[:, lo - at : hi - at]
    return out, rate


def clicks_in(mono: np.ndarray, rate: int) -> list[float]:
    """Times of the clicks in a (S,) mixture with the tone."""
    sharp = np.abs(np.diff(mono, 2))
    loud = np.flatnonzero(sharp > 0.4 * sharp.max())
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 0.02 * rate) + 1)
    return [float(1 + (g * sharp[g]).sum() / sharp[g].sum()) / rate for g in groups]


def step_db(mono: np.ndarray, rate: int, at_s: float) -> float:
    """The largest change of the tone's level near a time, against the level a little before and after: its envelope,
    by quadrature over whole periods."""
    period, t = round(2 * rate / TONE_HZ), np.arange(len(mono)) / rate
    turned = mono * np.exp(-2j * np.pi * TONE_HZ * t)
    envelope = np.abs(np.convolve(turned, np.ones(period) / period, "same")) * 2
    near = envelope[round((at_s - 0.05) * rate) : round((at_s + 0.05) * rate)]
    return float(np.abs(20 * np.log10(near / TONE)).max())
