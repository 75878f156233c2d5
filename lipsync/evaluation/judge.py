"""The measures of a comparison: each held-out frame as drawn against the same frame as filmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.geometry import warp_frame
from lipsync.core.lips import opening
from lipsync.core.track import jaw_in_face
from lipsync.core.types import MouthSpace
from lipsync.evaluation.evaluate import Mouth
from lipsync.evaluation.held_out import HeldOutClip
from lipsync.face.backend import Backend
from lipsync.face.track import FaceTracker
from lipsync.learning.losses import Losses
from lipsync.metrics import lips as lip_metrics
from lipsync.metrics import pictures as picture_metrics
from lipsync.render.box import STEP, Box
from lipsync.render.region import blend_region, off_lips, region_polygon
from video.probe import VideoStream
from video.read import read_rows


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of the table. better: "high", "low", "one" (1 is best) or "" (none is best); of: "rows" (mean over
    rows), "ratio" (sum over the real frames' sum) or "block" (of all rows of a block together)."""

    key: str
    label: str
    better: str
    of: str
    digits: int = 3


MEASURES = (
    Measure("ssim_mouth", "SSIM mouth", "high", "rows"),
    Measure("psnr_mouth", "PSNR mouth, dB", "high", "rows", 2),
    Measure("perceptual", "perceptual distance", "low", "rows", 4),
    Measure("ssim_face", "SSIM face", "high", "rows"),
    Measure("psnr_face", "PSNR face, dB", "high", "rows", 2),
    Measure("ssim_frame", "SSIM frame", "high", "rows", 4),
    Measure("psnr_frame", "PSNR frame, dB", "high", "rows", 2),
    Measure("sharpness", "sharpness / real", "one", "ratio", 2),
    Measure("flicker", "flicker / real", "one", "ratio", 2),
    Measure("seam_colour", "seam colour / real", "one", "ratio", 2),
    Measure("seam_gradient", "seam gradient / real", "one", "ratio", 2),
    Measure("colour_step", "colour step at the edge, grey levels", "low", "rows", 2),
    Measure("outside", "change outside, grey levels", "low", "rows", 2),
    Measure("lmd", "LMD, eye distances", "low", "rows", 4),
    Measure("opening_r", "opening r", "high", "block"),
    Measure("articulation", "articulation", "one", "block", 2),
)
#: What is kept of every row; "opening" makes the measures of whole blocks.
PER_ROW = (*tuple(m.key for m in MEASURES if m.of != "block"), "opening")
#: The perceptual distance sees the mouth this wide, and mouths in the report are this wide, pixels.
PERCEPTUAL_WIDTH, PICTURE_WIDTH = 128, 176


@dataclass(frozen=True, slots=True)
class Rows:
    """A block as judged. values: for each name of PER_ROW as many numbers as rows, None where it cannot be taken;
    pictures: mouths (h,w,3) uint8 for the report; path: the video judged."""

    values: Mapping[str, list[float | None]]
    pictures: list[np.ndarray]
    path: Path | None

    def to_plain(self) -> dict:
        return {name: [None if v is None else round(v, 5) for v in column] for name, column in self.values.items()}


class Judge:
    """Judges videos of one held-out clip. real: the filmed frames by the same measures (against themselves)."""

    def __init__(
        self, clip: HeldOutClip, space: MouthSpace, config: DubConfig, losses: Losses, backend: Backend
    ) -> None:
        self.clip, self.config, self.track, self.jaw = clip, config, clip.track, jaw_in_face(clip.track)
        self.losses, self.backend = losses, backend
        self.space, self.picture_size = (
            space,
            (round(PICTURE_WIDTH * space.height / space.width / 2) * 2, PICTURE_WIDTH),
        )
        usable = np.flatnonzero(clip.plan.render)
        by_opening = usable[np.argsort(opening(clip.plan.lips.points[usable]))]
        self.pictured = {
            int(by_opening[at]) for at in ({len(usable) // 2, len(usable) - 1} if len(usable) else ())
        }  # half open, widest open
        self.truth: np.ndarray | None = None
        self.real = self._judged(None)

    def judge(self, ours: VideoStream) -> Rows:
        """ours: as many frames as the clip has rows."""
        return self._judged(ours)

    def _judged(self, ours: VideoStream | None) -> Rows:
        clip, batch = self.clip, self.config.batch
        mouth, values, pictures = Mouth(self.track), {name: [] for name in PER_ROW}, []
        self.backend.reset()
        tracker = FaceTracker(self.config.face, clip.footage.stream.width, clip.footage.stream.height, self.backend)
        reels = [read_rows(clip.footage.stream, clip.plan.source, batch)]
        reels += [read_rows(ours, np.arange(len(clip)), batch)] if ours is not None else []
        cuts = set(clip.plan.seeks.tolist())
        for parts in zip(*reels, strict=True):
            for k, row in enumerate(range(parts[0][0].start, parts[0][0].stop)):
                real, drawn = (np.ascontiguousarray(parts[i][1].rgb[k].permute(1, 2, 0).numpy()) for i in (0, -1))
                tracker.push(drawn, row in cuts)
                for name, value in self._row(row, real, drawn, mouth).items():
                    values[name].append(value)
                if row in self.pictured:
                    pictures.append(self.picture(row, drawn))
        values["lmd"], values["opening"] = self._lips(tracker, ours is None)
        return Rows(values, pictures, None if ours is None else ours.path)

    def _row(self, row: int, real: np.ndarray, drawn: np.ndarray, mouth: Mouth) -> dict[str, float | None]:
        """The measures of one frame; all None where the face is not usable."""
        sharp, flicker = mouth.see(drawn, row)
        found = dict.fromkeys((name for name in PER_ROW if name not in ("lmd", "opening")), None)
        if not self.clip.plan.render[row]:
            return found
        boxes = {
            "mouth": mouth.box(real, row),
            "face": picture_metrics.face_box(self.track.landmarks[row], *real.shape[:2]),
            "frame": (slice(None), slice(None)),
        }
        for name, box in boxes.items():
            a, b = np.ascontiguousarray(real[box]), np.ascontiguousarray(drawn[box])
            if min(a.shape[:2]) >= 11:
                found |= {f"psnr_{name}": picture_metrics.psnr(a, b), f"ssim_{name}": picture_metrics.ssim_luma(a, b)}
        part, border = self._border(row, real.shape[0], real.shape[1])
        colour, gradient = picture_metrics.seam(drawn[part], border)
        box = boxes["mouth"]
        return found | {
            "sharpness": sharp,
            "flicker": flicker,
            "seam_colour": colour,
            "seam_gradient": gradient,
            "colour_step": picture_metrics.colour_step(real[part], drawn[part], border),
            "outside": picture_metrics.luma_change(real[part], drawn[part], ~border),
            "perceptual": self._perceptual(real[box], drawn[box]),
        }

    def _perceptual(self, real: np.ndarray, drawn: np.ndarray) -> float:
        import cv2

        size = (PERCEPTUAL_WIDTH, max(32, round(PERCEPTUAL_WIDTH * real.shape[0] / real.shape[1])))
        pair = [
            cv2.resize(x, size, interpolation=cv2.INTER_AREA if x.shape[1] > size[0] else cv2.INTER_CUBIC)
            for x in (real, drawn)
        ]
        a, b = (torch.from_numpy(x).permute(2, 0, 1)[None].to(self.losses.device).float() / 255 for x in pair)
        with torch.no_grad():
            return float(self.losses.perceptual(a, b))

    def _border(self, row: int, height: int, width: int) -> tuple[tuple[slice, slice], np.ndarray]:
        """The box around the lower face and in it the (h,w) bool region that is redrawn, by the true jaw and lips."""
        jaw = torch.from_numpy(self.jaw[row : row + 1])
        box = Box.around(
            jaw,
            torch.from_numpy(self.track.pixel_from_face[row : row + 1]).float(),
            torch.Size((height, width)),
            self.config.composite,
        )
        nodes, lips = box.positions(STEP), torch.from_numpy(self.track.lips.points[row : row + 1, None]).float()
        beyond = off_lips(lips, nodes) - self.config.composite.lip_margin
        mask = box.fine(blend_region(region_polygon(jaw, lips), nodes, beyond, self.config.composite)[0])[0, 0] > 0.5
        x, y = int(box.left[0]), int(box.top[0])
        return (slice(y, y + box.height), slice(x, x + box.width)), mask.numpy()

    def _lips(self, tracker: FaceTracker, is_truth: bool) -> tuple[list, list]:
        """(lmd, opening) of every row, from the lips found again; eyes and nose aligned on the truth's."""
        n = len(self.clip)
        try:
            seen = tracker.finish(self.clip.plan.clock)
        except LipsyncError:  # no face at all
            return [None] * n, [None] * n
        if is_truth:
            self.reference = lip_metrics.rigid_reference(
                seen.landmarks[seen.valid] if seen.valid.any() else seen.landmarks
            )
            self.truth, self.found = lip_metrics.aligned_lips(seen.landmarks, self.reference), seen.valid
        ours = lip_metrics.aligned_lips(seen.landmarks, self.reference)
        usable = self.clip.plan.render & seen.valid & self.found
        apart = np.linalg.norm(ours - self.truth, axis=-1).mean(1)
        return [float(v) if ok else None for v, ok in zip(apart, usable, strict=True)], [
            float(v) if ok else None for v, ok in zip(opening(ours), usable, strict=True)
        ]

    def picture(self, row: int, rgb: np.ndarray) -> np.ndarray:
        """(h,w,3) uint8 the mouth in the face's own frame, so that pictures of a video lie still."""
        zoom = self.picture_size[1] / self.space.width
        picture_from_pixel = (
            np.diag([zoom, zoom, 1]) @ self.space.mouth_from_face @ np.linalg.inv(self.track.pixel_from_face[row])
        )
        return warp_frame(rgb, picture_from_pixel, *self.picture_size)


def summary(rows: Sequence[Rows], real: Sequence[Rows]) -> dict:
    """For each measure its value in every block, their mean and its 95 % bootstrap interval over blocks; None where it
    cannot be taken.

    {"measures": {key: {"mean", "low", "high"}}, "blocks": {key: [one for each block]}, "pooled": {...}}; pooled: all
    rows as one block, for the measures of whole blocks."""
    blocks = {
        m.key: [_of_block(m, ours.values, theirs.values) for ours, theirs in zip(rows, real, strict=True)]
        for m in MEASURES
    }
    ours_all, real_all = _joined(rows), _joined(real)
    pooled = {m.key: _of_block(m, ours_all, real_all) for m in MEASURES if m.of == "block"}
    return {
        "measures": {key: _over_blocks(values) for key, values in blocks.items()},
        "blocks": blocks,
        "pooled": pooled,
    }


def _of_block(measure: Measure, ours: Mapping[str, list], real: Mapping[str, list]) -> float | None:
    key = measure.key if measure.of != "block" else "opening"
    both = [(a, b) for a, b in zip(ours[key], real[key], strict=True) if a is not None and b is not None]
    if not both:
        return None
    a, b = np.array(both).T
    if measure.of == "rows":
        return float(a.mean())
    if measure.of == "ratio":
        return float(a.sum() / b.sum()) if b.sum() > 0 else None
    if len(a) < 3 or b.std() < 1e-9:
        return None
    return lip_metrics.opening_r(a, b) if measure.key == "opening_r" else lip_metrics.articulation(a, b)


def _joined(rows: Sequence[Rows]) -> dict[str, list]:
    return {name: [value for r in rows for value in r.values[name]] for name in PER_ROW}


def _over_blocks(values: Sequence[float | None]) -> dict | None:
    known = [v for v in values if v is not None]
    if not known:
        return None
    low, high = lip_metrics.bootstrap_interval(known)
    return {"mean": float(np.mean(known)), "low": low, "high": high}
