"""`lipsync evaluate REAL DUBBED`: finds the face in both, lines them up on the clock, and measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipsync.config.schema import FaceConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import opening
from lipsync.core.progress import Hook, silent
from lipsync.core.types import FaceTrack
from lipsync.evaluation.untouched import untouched_measures
from lipsync.face.track import FaceTracker, track_video
from lipsync.metrics import lips as lip_metrics
from lipsync.metrics import pictures as picture_metrics
from media import MediaError
from video.clock import FrameClock
from video.probe import VideoStream, probe
from video.read import read_rows

#: Picture measures mean something while eyes and nose of both videos lie this close (median, eye distances).
SAME_MOTION = 0.03
#: In one take the upper face differs by encoding alone (measured: 1 to 5 grey levels, from crf 18 to 35; other takes of
#: the same speaker 21): at most so many, median over frames.
SAME_TAKE = 8.0
#: Neighbouring frames whose faces are further apart than this are a cut, not flicker.
CUT_DISTANCE = 0.08


@dataclass(frozen=True, slots=True)
class Video:
    """A video and the face in it."""

    stream: VideoStream
    track: FaceTrack


def evaluate(real_path, dubbed_path, face: FaceConfig = FaceConfig(), batch: int = 8, hook: Hook = silent) -> dict:
    """The measures of a dub against the real video, as plain values for JSON; None where one cannot be taken.

    Row i of the comparison is frame i of the dub and the real frame shown at that time, as far as both play. Lips are
    compared where both faces are usable. Picture measures say something only where both are of one take: read them with
    `same_take`. Raises MediaError, LipsyncError."""
    real, dubbed = (
        follow(Path(real_path), "real", face, batch, hook),
        follow(Path(dubbed_path), "dubbed", face, batch, hook),
    )
    rows = paired(real.stream.clock, dubbed.stream.clock)
    usable = real.track.valid[rows] & dubbed.track.valid[: len(rows)]
    if usable.sum() < 2:
        raise LipsyncError(
            f"Only {int(usable.sum())} frames show a usable face in both {real.stream.path} and {dubbed.stream.path}: "
            "nothing to compare. "
            "Look at each with `lipsync analyse`."
        )
    same_size = (real.stream.width, real.stream.height) == (dubbed.stream.width, dubbed.stream.height)
    apart = lip_metrics.rigid_distance(dubbed.track.landmarks[: len(rows)][usable], real.track.landmarks[rows][usable])
    distance = float(np.median(apart)) if same_size else None
    same_motion = distance is not None and distance <= SAME_MOTION
    picture = picture_measures(real, dubbed, rows, usable, same_size, batch, hook)
    return {
        "real": str(real.stream.path),
        "dubbed": str(dubbed.stream.path),
        "n_frames": {
            "real": len(real.stream),
            "dubbed": len(dubbed.stream),
            "compared": len(rows),
            "usable": int(usable.sum()),
        },
        "unit": "eye distances (outer corners); lips aligned on eyes and nose by a similarity; 18 points; "
        + face.backend,
        "same_motion": same_motion,
        "same_take": same_motion and picture["upper_face"] is not None and picture["upper_face"] <= SAME_TAKE,
        "rigid_distance": distance,
        "lips": lip_measures(real, dubbed, rows, usable),
        "silence": silence_measures(real, dubbed),
        "picture": picture,
        "untouched": untouched_measures(real.stream, dubbed.track, dubbed.stream, batch),
        "sync": sync_facts(dubbed.stream),
    }


def follow(path: Path, name: str, face: FaceConfig, batch: int, hook: Hook = silent) -> Video:
    """A video with its face track; one pass."""
    stream = probe(path)
    tracker = FaceTracker(face, stream.width, stream.height)
    return Video(stream, track_video(tracker, stream, batch, hook, f"faces of the {name} video"))


def paired(real: FrameClock, dubbed: FrameClock) -> np.ndarray:
    """(n,) int64 real frame shown in the middle of each of the dub's first n frames; n = frames whose middle lies
    within the real video."""
    starts = dubbed.seconds
    ends = np.append(starts[1:], float(dubbed.duration_s))
    middle = (starts + ends) / 2
    middle = middle[middle < float(real.duration_s)]
    return np.searchsorted(real.seconds, middle, side="right") - 1


def lip_measures(real: Video, dubbed: Video, rows: np.ndarray, usable: np.ndarray) -> dict:
    """LMD with and without the mean shapes, and the mouth opening's correlation and spread."""
    real_landmarks, our_landmarks = real.track.landmarks[rows][usable], dubbed.track.landmarks[: len(rows)][usable]
    reference = lip_metrics.rigid_reference(real_landmarks)
    theirs, ours = (
        lip_metrics.aligned_lips(real_landmarks, reference),
        lip_metrics.aligned_lips(our_landmarks, reference),
    )
    return {
        "lmd": lip_metrics.lmd(ours, theirs),
        "lmd_means_removed": lip_metrics.lmd(ours, theirs, remove_means=True),
        "lmd_of_the_mean_shape": lip_metrics.lmd(np.broadcast_to(theirs.mean(0), theirs.shape), theirs),
        "opening_r": lip_metrics.opening_r(opening(ours), opening(theirs)),
        "articulation": lip_metrics.articulation(opening(ours), opening(theirs)),
    }


def silence_measures(real: Video, dubbed: Video) -> dict | None:
    """How still and how closed the mouth is while the dub's sound pauses for at least 0.3 s; None without sound or
    without such a pause."""
    voiced = voiced_frames(dubbed.stream)
    silences = [] if voiced is None else lip_metrics.long_silences(voiced, float(dubbed.stream.clock.rate))
    if voiced is None or not silences:
        return None
    quiet = np.zeros(len(voiced), bool)
    for s in silences:
        quiet[s] = True
    gap, reference = own_opening(dubbed.track)
    real_voiced = voiced_frames(real.stream)
    real_silences = [] if real_voiced is None else lip_metrics.long_silences(real_voiced, float(real.stream.clock.rate))
    real_gap, _ = own_opening(real.track, reference)
    rest = lip_metrics.resting_gap(real_gap, real_silences)
    return {
        "n_frames": int(quiet.sum()),
        "lip_std": lip_metrics.silent_lip_std(gap, silences),
        "lip_std_real": lip_metrics.silent_lip_std(real_gap, real_silences),
        "closed_share": float(lip_metrics.closed(gap, rest)[quiet].mean()),
        "open_share": lip_metrics.lip_leak(gap, rest, quiet),
        "resting_gap": rest,
    }


def own_opening(track: FaceTrack, reference: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(T,) mouth opening of every frame, and the eyes and nose it was aligned on."""
    landmarks = track.landmarks
    reference = (
        lip_metrics.rigid_reference(landmarks[track.valid] if track.valid.any() else landmarks)
        if reference is None
        else reference
    )
    return opening(lip_metrics.aligned_lips(landmarks, reference)), reference


def voiced_frames(stream: VideoStream) -> np.ndarray | None:
    """(T,) bool the video's own voice at the middle of each frame; None without sound."""
    from audio.features import FEATURE_RATE
    from audio.load import load_track
    from lipsync.speech.voice import voice_activity

    if not stream.has_audio:
        return None
    try:
        voice = voice_activity(load_track(stream.path))
    except MediaError:
        return None
    middle = stream.clock.seconds + 0.5 / float(stream.clock.rate)
    at = np.floor(middle * FEATURE_RATE).astype(int)
    return (at < len(voice)) & voice[np.minimum(at, len(voice) - 1)]


def picture_measures(
    real: Video, dubbed: Video, rows: np.ndarray, usable: np.ndarray, same_size: bool, batch: int, hook: Hook
) -> dict:
    """PSNR and SSIM of frame and mouth region (each at the real mouth's place; "same_mouth": all its pixels are equal);
    sharpness and flicker of the mouth relative to the real, and how much the real's own vary from second to second;
    "upper_face": the luma's mean difference around eyes and nose bridge, grey levels, median over frames."""
    tally, mouths = _Tally(), (Mouth(real.track), Mouth(dubbed.track))
    upper, series, same = [], {"sharpness": [], "flicker": []}, True
    ours = read_rows(dubbed.stream, np.arange(len(rows)), batch)
    for (at, truth), (_, dub) in zip(read_rows(real.stream, rows, batch), ours, strict=True):
        for k, row in enumerate(range(at.start, at.stop)):
            pair = [x.rgb[k].permute(1, 2, 0).contiguous().numpy() for x in (truth, dub)]
            if same_size:
                tally.compare("whole", pair[0], pair[1])
            sights = [
                mouth.see(rgb, frame) for mouth, rgb, frame in zip(mouths, pair, (int(rows[row]), row), strict=True)
            ]
            if usable[row]:
                if same_size:
                    box = mouths[0].box(pair[0], int(rows[row]))
                    tally.compare("mouth", pair[0][box], pair[1][box])
                    same = same and np.array_equal(pair[0][box], pair[1][box])
                    around = upper_face_box(real.track.landmarks[rows[row]], *pair[0].shape[:2])
                    upper.append(
                        float(
                            np.abs(picture_metrics.luma(pair[0][around]) - picture_metrics.luma(pair[1][around])).mean()
                        )
                    )
                for name, value in zip(series, sights[0], strict=True):
                    series[name].append((float(real.stream.clock.seconds[rows[row]]), value))
                for name, (sharp, residual) in zip(("real", "dubbed"), sights, strict=True):
                    tally.add(f"sharpness_{name}", sharp)
                    tally.add(f"flicker_{name}", residual)
        hook("pictures", at.stop, len(rows))
    found: dict = tally.means()
    found |= {f"{name}_real_spread": spread_by_second(values) for name, values in series.items()}
    found |= {"upper_face": float(np.median(upper)) if upper else None, "same_mouth": bool(upper) and same}
    return found | {
        name: _ratio(found.get(f"{name}_dubbed"), found.get(f"{name}_real")) for name in ("sharpness", "flicker")
    }


def upper_face_box(landmarks: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Brows, eyes and bridge of the nose of (68,2) pixel landmarks, which no dub draws, inside the picture."""
    some = landmarks[np.r_[17:31, 36:48]]
    (left, top), (right, bottom) = np.floor(some.min(0)), np.ceil(some.max(0))
    rows = slice(int(np.clip(top, 0, height - 1)), int(np.clip(bottom, 1, height)))
    return rows, slice(int(np.clip(left, 0, width - 1)), int(np.clip(right, 1, width)))


def spread_by_second(values: Sequence[tuple[float, float | None]]) -> float | None:
    """How much (time in seconds, value) vary: standard deviation of the means of each second over their mean; None of
    less than three seconds."""
    seconds: dict[int, list[float]] = {}
    for time_s, value in values:
        if value is not None:
            seconds.setdefault(int(time_s), []).append(value)
    means = np.array([np.mean(some) for some in seconds.values()])
    return float(means.std() / means.mean()) if len(means) >= 3 and means.mean() > 0 else None


def _ratio(ours: float | None, real: float | None) -> float | None:
    return ours / real if ours is not None and real else None


class Mouth:
    """The mouth region of one video, frame after frame, in order."""

    def __init__(self, track: FaceTrack) -> None:
        self._track = track
        self._before: tuple[np.ndarray, int] | None = None

    def box(self, rgb: np.ndarray, frame: int) -> tuple[slice, slice]:
        return picture_metrics.region_box(self._track.pixel_from_face[frame], *rgb.shape[:2])

    def see(self, rgb: np.ndarray, frame: int) -> tuple[float | None, float | None]:
        """Sharpness of the mouth in this frame, and its flicker against the frame seen before (None after a cut or the
        same frame)."""
        previous, self._before = self._before, (rgb, frame)
        box = self.box(rgb, frame)
        crop = rgb[box]
        if not self._track.valid[frame] or min(crop.shape[:2]) < 11:
            return None, None
        sharp = picture_metrics.sharpness(crop)
        if previous is None or previous[1] == frame or self._cut_between(previous[1], frame):
            return sharp, None
        # Flow looks a little beyond the region; the same margin is left out of the count.
        margin = max(4, (box[0].stop - box[0].start) // 4)
        rows, columns = (slice(max(0, s.start - margin), s.stop + margin) for s in box)
        return sharp, picture_metrics.flicker(previous[0][rows, columns], rgb[rows, columns], margin)

    def _cut_between(self, before: int, frame: int) -> bool:
        track = self._track
        if track.shot[before] != track.shot[frame] or not track.valid[before]:
            return True
        return bool(
            lip_metrics.rigid_distance(track.landmarks[before][None], track.landmarks[frame][None])[0] > CUT_DISTANCE
        )


class _Tally:
    """Means of named measures over frames; None is not counted."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, name: str, value: float | None) -> None:
        if value is not None:
            total = self._sums.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def compare(self, name: str, real: np.ndarray, ours: np.ndarray) -> None:
        if min(real.shape[:2]) >= 11:
            self.add(f"psnr_{name}", picture_metrics.psnr(real, ours))
            self.add(f"ssim_{name}", picture_metrics.ssim_luma(real, ours))

    def means(self) -> dict[str, float]:
        return {name: total / n for name, (total, n) in self._sums.items()}


def sync_facts(stream: VideoStream) -> dict:
    """Start and duration of picture and sound, seconds; the sound's start is relative to the first frame."""
    from audio.load import load_track

    facts = {
        "video_duration_s": float(stream.clock.duration_s),
        "audio_start_s": None,
        "audio_duration_s": None,
        "end_difference_s": None,
    }
    if stream.audio_start_s is None:
        return facts
    try:
        end = float(load_track(stream.path).duration_s)  # a track on the picture's clock: its length is where it ends
    except MediaError:
        return facts
    start = float(stream.audio_start_s)
    return facts | {
        "audio_start_s": start,
        "audio_duration_s": end - start,
        "end_difference_s": end - facts["video_duration_s"],
    }
