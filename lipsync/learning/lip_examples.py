"""Speech with its real lips, as rows to learn from: features and lip shapes at 100 per second, held-out parts, varied
excerpts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from audio.features import HOP
from audio.load import Waveform, load_track
from lipsync.core.lips import opening, rest_shape
from lipsync.core.timebase import shot_at_features, to_feature_clock
from lipsync.core.types import Footage, LipTrack
from lipsync.speech.encoders.base import SpeechEncoder
from lipsync.speech.voice import voice_activity
from media import MediaError
from video.clock import FrameClock

#: Rows (10 ms) on either side of a held-out stretch that nobody learns from.
GUARD = 30
N_FOLDS = 8
#: A shot's rest is believed after so many silent rows, and if the mouth is as closed as in other shots (eye distances).
SEEN_AT_REST, SAME_REST = 30, 0.02


@dataclass(frozen=True, slots=True)
class LipExample:
    """One recording with its picture. wave: sample 0 sounds at the first frame (`audio.load.load_track`); lips: on the
    frames' clock; shot: (T,) shot number of each frame."""

    wave: Waveform
    lips: LipTrack
    shot: np.ndarray

    def __post_init__(self) -> None:
        if self.lips.clock is None or self.shot.shape != (len(self.lips),):
            raise ValueError(
                f"LipExample: {len(self.lips)} lips need a frame clock and as many shot numbers; got {self.shot.shape}"
            )

    @property
    def clock(self) -> FrameClock:
        """That of the lips."""
        if self.lips.clock is None:
            raise ValueError("LipExample: lips without a clock")
        return self.lips.clock


@dataclass(frozen=True, slots=True)
class LipRows:
    """Rows of all examples, one after the other. features: (R,D) float32 torch; points: (R,18,2); valid, voiced: (R,)
    bool; fold: (R,) int, the stretch's part of the recording, 0 to N_FOLDS - 1."""

    features: torch.Tensor
    points: np.ndarray
    valid: np.ndarray
    voiced: np.ndarray
    fold: np.ndarray

    def learnable(self, fold: int) -> np.ndarray:
        """(R,) bool: valid and at least GUARD rows from everything held out with `fold`."""
        held_out = np.convolve(self.fold == fold, np.ones(2 * GUARD + 1), "same") > 0.5
        return self.valid & ~held_out


def lip_rows(examples: Sequence[LipExample], encoder: SpeechEncoder) -> LipRows:
    """The examples as rows; the last row of each is never valid, so that nothing is interpolated from one into the
    next."""
    features, tracks, pieces, shots = [], [], [], []
    total = sum(len(e.wave.samples) for e in examples) // HOP
    longest = int(np.clip(total / N_FOLDS, 50, 300))
    for example in examples:
        values = encoder.encode(example.wave).values
        track = to_feature_clock(example.lips, len(values), example.shot)
        track.valid[-1] = False
        features.append(values)
        tracks.append(track)
        shot = shot_at_features(example.shot, example.clock, len(values))
        pieces.append(_pieces(shot, longest) + (pieces[-1][-1] + 1 if pieces else 0))
        shots.append(shot + (shots[-1].max() + 1 if shots else 0))
    points, valid = (np.concatenate([getattr(track, name) for track in tracks]) for name in ("points", "valid"))
    voiced = np.concatenate([voice_activity(example.wave) for example in examples])
    points = settled(points, valid, voiced, np.concatenate(shots))
    return LipRows(torch.cat(features), points, valid, voiced, np.concatenate(pieces) % N_FOLDS)


def settled(points: np.ndarray, valid: np.ndarray, voiced: np.ndarray, shot: np.ndarray) -> np.ndarray:
    """The (R,18,2) lips with each shot's rest brought to the common one, where it is seen: a turned head leaks into the
    face frame, and no sound tells by how much (on GRID s1 it was 41 % of the squared error)."""
    if not valid.any():
        return points
    rest, out, own = rest_shape(points, valid, voiced), points.copy(), {}
    for number in np.unique(shot):
        here = shot == number
        if (here & valid & ~voiced).sum() >= SEEN_AT_REST:
            its = rest_shape(points[here], valid[here], voiced[here])
            if abs(opening(its) - opening(rest)) < SAME_REST:
                own[number] = its
    for number, its in own.items():
        out[shot == number] += np.mean(list(own.values()), axis=0) - its
    return out


def _pieces(shot: np.ndarray, longest: int) -> np.ndarray:
    """(F,) number of the stretch each row belongs to: shots, the long ones cut into equal pieces of at most `longest`
    rows."""
    edges = np.flatnonzero(np.diff(shot)) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, len(shot)]
    lengths = np.concatenate([_even(end - start, longest) for start, end in zip(starts, ends, strict=True)])
    return np.repeat(np.arange(len(lengths)), lengths)


def _even(n: int, longest: int) -> np.ndarray:
    k = -(-n // longest)
    return np.diff(np.round(np.linspace(0, n, k + 1)).astype(int))


@dataclass(frozen=True, slots=True)
class Variation:
    """How much excerpts differ from the recording; features are log-mel bands, so sound is varied there (natural
    logarithm of power).

    speed: share, both ways; noise: ceiling of added steady noise over the floor; tilt: std of the spectral tilt; gain:
    std; formants: share by which the bands move; colour: std of three slow waves over the bands."""

    speed: float = 0.1
    noise: float = 1.5
    tilt: float = 0.15
    gain: float = 0.2
    formants: float = 0.015
    colour: float = 0.0


NO_VARIATION = Variation(0, 0, 0, 0, 0)


def excerpts(
    features: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    n: int,
    length: int,
    vary: Variation,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`n` random stretches of `length` rows: features (n,length,D), targets (n,length,K), weight (n,length), varied
    alike in speed."""
    room = len(features) - int(length * (1 + vary.speed)) - 2
    pace = 1 + (2 * torch.rand(n, 1, generator=generator) - 1) * vary.speed
    position = torch.rand(n, 1, generator=generator) * room + torch.arange(length)[None] * pace
    row = position.long()
    part = (position - row)[..., None].to(features.device)
    row = row.to(features.device)

    def blend(rows: torch.Tensor) -> torch.Tensor:
        return rows[row] * (1 - part) + rows[row + 1] * part

    return varied(blend(features), vary, generator), blend(targets), weight[row] * weight[row + 1]


def varied(log_mel: torch.Tensor, vary: Variation, generator: torch.Generator) -> torch.Tensor:
    """(n,L,M) log-mel as another microphone, voice or room would have given it."""
    n, length, n_bands = log_mel.shape
    device = log_mel.device
    slope = torch.linspace(-1, 1, n_bands, device=device)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    if vary.formants:
        log_mel = _moved_bands(log_mel, 1 + (2 * uniform(n, 1) - 1) * vary.formants)
    if vary.noise:
        floor = log_mel.amin((1, 2), keepdim=True) + uniform(n, 1, 1) * vary.noise + normal(n, 1, 1) * slope
        log_mel = torch.logaddexp(log_mel, floor + 0.5 * normal(n, length, n_bands))
    if vary.colour:
        waves = torch.cos(
            torch.pi
            * torch.arange(1, 4, device=device)[:, None]
            * (torch.arange(n_bands, device=device) + 0.5)
            / n_bands
        )
        log_mel = log_mel + (vary.colour * normal(n, 3) @ waves)[:, None]
    return log_mel + normal(n, 1, 1) * vary.tilt * slope + normal(n, 1, 1) * vary.gain


def _moved_bands(log_mel: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Bands stretched by (n,1) `scale`, as a shorter or longer vocal tract does."""
    n, length, n_bands = log_mel.shape
    position = (torch.arange(n_bands, device=log_mel.device)[None] * scale).clamp(0, n_bands - 1.001)
    low = position.long()
    part = (position - low)[:, None]
    index = low[:, None].expand(n, length, n_bands)
    return log_mel.gather(2, index) * (1 - part) + log_mel.gather(2, index + 1) * part


def examples_of(videos: Sequence[Footage]) -> tuple[list[LipExample], list[str]]:
    """Speech with the lips that said it, one of each video that has sound, and a note for each that has none."""
    examples, notes = [], []
    for video in videos:
        try:
            wave = load_track(video.video.path, video.stream.limits)
        except MediaError as error:
            notes.append(f"Footage {video.video.path.name} is of no use: {error}")
        else:
            lips = video.track.lips
            if video.speaks is not None:  # these lips do not belong to what another says
                lips = LipTrack(lips.points, lips.valid & video.speaks, lips.clock)
            examples.append(LipExample(wave, lips, video.track.shot))
    return examples, notes
