"""What a close look at drawn mouths finds, on dubs of real HD footage.  python -m benchmarks.closeup [--rows address
presenter grid]

Rows
    address     each HD clip of `data/address` says the next one's sentence
    presenter   the shipped clip says the sample speech
    grid        two minutes of GRID s1 say 20 `val` sentences

Each dub is written, decoded and followed as any video. Measures: the found lips against those that were asked for
(opening: mean and 95th percentile of frames, in eye distances; width: correlation; spread: drawn over wanted); teeth
outside the inner edge of the lips, and how much teeth change in head coordinates, relative to the undubbed video;
sharpness and flicker of the mouth, relative to the undubbed video. The same measures of the undubbed video, followed
again, are the floor. Native-size sheets of every fifth frame (target above, dub below) are written to the work folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import DATA, SAMPLES, config_of, grid_clips, joined, parser, report, sample_target
from benchmarks.lips_wild import ADDRESS
from lipsync.config.schema import DubConfig
from lipsync.core.geometry import apply, warp_frame
from lipsync.core.lips import LIPS_FROM_68, opening
from lipsync.core.types import DubPlan
from lipsync.evaluation.evaluate import follow
from lipsync.metrics.pictures import flicker, region_box, sharpness
from lipsync.pipelines.dub import dub, prepare
from lipsync.pipelines.models import Prepared
from lipsync.render.plan import PlannedFaces, faces_along, frames_along, make_plan
from lipsync.render.teeth import inner_mouth, whiteness
from lipsync.speech.predict import predict_utterance
from lipsync.store.cache import Cache
from video.probe import VideoStream, probe
from video.read import read_rows

EVERY, COLUMNS = 5, 8


@dataclass(frozen=True, slots=True)
class Dubbed:
    """A dub, and what it was to be. out: the written video; undubbed: the target's frames along the same plan."""

    out: VideoStream
    ready: Prepared
    plan: DubPlan
    faces: PlannedFaces

    def frames(self, drawn: bool) -> Iterator[tuple[int, np.ndarray]]:
        """(row, (H,W,3) uint8) of the dub, or of the target as it is shown."""
        n = np.arange(len(self.plan))
        along = frames_along(self.ready.subject.films[0].stream, self.plan, 8)
        shown = ((part, frames) for part, frames, _ in along)
        rows = ((part, frames.rgb) for part, frames in read_rows(self.out, n, 8)) if drawn else shown
        for part, rgb in rows:
            yield from zip(range(part.start, part.stop), rgb.permute(0, 2, 3, 1).numpy(), strict=True)


def dubbed(ready: Prepared, speech: Path, out: Path, config: DubConfig, cache: Cache) -> Dubbed:
    target = ready.subject.video.path
    dub(target, speech, out, config, cache=cache, force=True, prepared=ready)
    said = predict_utterance(speech, ready.model, ready.subject.video.clock, config)
    plan = make_plan(said.lips, said.voiced, ready.subject, config)
    return Dubbed(probe(out), ready, plan, faces_along(ready.subject.track, plan, config.composite.fade_rows))


def lips_found(made: Dubbed, config: DubConfig) -> dict[str, float]:
    """The lips that are found in the dub against those that were asked for."""
    track = follow(made.out.path, "dubbed", config.face, config.batch).track
    seen = apply(np.linalg.inv(made.faces.pixel_from_face), track.landmarks[: len(made.plan)][:, LIPS_FROM_68])
    wanted, use = made.plan.lips.points, track.valid[: len(made.plan)] & (made.faces.strength == 1)
    ours, asked = opening(seen[use]), opening(wanted[use])
    width = [np.linalg.norm(lips[use][:, 6] - lips[use][:, 0], axis=-1) for lips in (seen, wanted)]
    error = np.abs(ours - asked)
    return {
        "opening_error": float(error.mean()),
        "opening_error_95": float(np.quantile(error, 0.95)),
        "opening_r": float(np.corrcoef(ours, asked)[0, 1]),
        "width_r": float(np.corrcoef(*width)[0, 1]),
        "spread": float(ours.std() / asked.std()),
    }


def looks(made: Dubbed, drawn: bool, sheet: list[np.ndarray]) -> dict[str, float]:
    """Sharpness, flicker and teeth of the mouths; every fifth mouth goes into the sheet."""
    subject, plan, faces = made.ready.subject, made.plan, made.faces
    space = subject.bank.space
    lips = plan.lips.points if drawn else faces.lips
    found: dict[str, list[float]] = {name: [] for name in ("sharpness", "flicker", "outside", "teeth", "change")}
    before = None
    for row, rgb in made.frames(drawn):
        box = region_box(faces.pixel_from_face[row], *rgb.shape[:2])
        part = np.ascontiguousarray(rgb[box])
        if row % EVERY == 0:
            sheet.append(part)
        found["sharpness"].append(sharpness(part))
        out_from_frame = space.mouth_from_face @ np.linalg.inv(faces.pixel_from_face[row])
        crop = warp_frame(rgb, out_from_frame, space.height, space.width)
        white = _teeth(crop, lips[row], subject.teeth.level, space) if len(subject.teeth.lips) else None
        if before is not None and row not in plan.seeks:
            found["flicker"].append(flicker(before[0], crop, 4))
            if white is not None and before[1] is not None:
                both = white[0] & before[1][0]
                if both.sum() > 20:
                    found["change"].append(float(np.abs(crop.astype(int) - before[0].astype(int)).mean(2)[both].mean()))
        if white is not None:
            found["teeth"].append(float(white[0].sum()))
            found["outside"].append(float(white[1].sum()))
        before = crop, white
    outside, teeth = sum(found.pop("outside")), sum(found.pop("teeth"))
    means = {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}
    return means | {"teeth_outside": outside / max(outside + teeth, 1)}


def _teeth(crop: np.ndarray, lips: np.ndarray, level: np.ndarray, space) -> tuple[np.ndarray, np.ndarray]:
    """(H,W) bool: tooth-like pixels within the inner edges of the lips, and those outside of them within the outer."""
    import cv2

    rgb = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    white = whiteness(rgb)[0, 0].numpy() > level[0] + level[1] / 2
    inside = inner_mouth(torch.from_numpy(lips)[None], space)[0, 0].numpy() > 0
    outer = np.zeros(crop.shape[:2], np.uint8)
    edge = apply(space.mouth_from_face, lips[:12].astype(np.float64))
    cv2.fillPoly(outer, [np.round(edge).astype(np.int32)], (1,))
    return white & inside, white & ~inside & (outer > 0)


def write_sheet(target: list[np.ndarray], ours: list[np.ndarray], path: Path) -> None:
    """PNG: pairs of mouths, the target's above, ours below, at native size."""
    import cv2

    height, width = np.max([part.shape[:2] for part in target], axis=0)

    def padded(part: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(part, 0, height - part.shape[0], 0, width - part.shape[1], cv2.BORDER_CONSTANT)

    pairs = [np.vstack([padded(a), padded(b)]) for a, b in zip(target, ours, strict=True)]
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % COLUMNS)
    rows = [np.hstack(pairs[at : at + COLUMNS]) for at in range(0, len(pairs), COLUMNS)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def measured(made: Dubbed, config: DubConfig, sheet: Path) -> dict[str, float]:
    above: list[np.ndarray] = []
    below: list[np.ndarray] = []
    real, ours = looks(made, False, above), looks(made, True, below)
    write_sheet(above, below, sheet)
    ratios = {f"{name}_ratio": ours[name] / real[name] for name in ("sharpness", "flicker", "change")}
    share = {"teeth_outside": ours["teeth_outside"], "teeth_outside_real": real["teeth_outside"]}
    return lips_found(made, config) | ratios | share


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", nargs="+", choices=("address", "presenter", "grid"), default=["address"])
    options.add_argument("--clips", nargs="+", default=list(ADDRESS), help="of data/address")
    args = options.parse_args()
    config = config_of(args)
    cache, found = Cache.of(config.cache), {}
    for row in args.rows:
        for target, speeches in _jobs(row, args):
            ready = prepare(target, config, cache=cache)
            for speech in speeches:
                out = args.work / f"closeup-{row}-{target.stem}-{speech.stem}.mp4"
                made = dubbed(ready, speech, out, config, cache)
                figures = measured(made, config, out.with_suffix(".png"))
                found.setdefault(row, {})[f"{target.stem} {speech.stem}"] = figures
    means = {
        row: {name: float(np.nanmean([one[name] for one in each.values()])) for name in next(iter(each.values()))}
        for row, each in found.items()
    }
    report("closeup", {"mean": means, "each": found})


def _jobs(row: str, args) -> Iterator[tuple[Path, list[Path]]]:
    if row == "presenter":
        yield sample_target(), [SAMPLES / "speech.wav"]
    elif row == "grid":
        yield joined(grid_clips("train")[:40], args.work / "grid-40.mkv"), grid_clips("val")[:20]
    else:
        clips = [DATA / "address" / f"{name}.mp4" for name in ADDRESS]
        following = dict(zip(ADDRESS, clips[1:] + clips[:1], strict=True))
        for name in args.clips:
            yield DATA / "address" / f"{name}.mp4", [following[name]]


if __name__ == "__main__":
    main()
