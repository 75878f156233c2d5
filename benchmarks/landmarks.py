"""One generation of landmarks against another: lips found in the same clips, in one environment each.

    python -m benchmarks.landmarks find FOLDER [--set face.mediapipe_landmarker=FILE] [CLIP...]
    python -m benchmarks.landmarks compare BEFORE AFTER

Without CLIPs: twelve clips of GRID's speaker s1, the fourteen of its other speakers, the eight of `address`, and the
presenter, whose true lips are known."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.common import DATA, SAMPLES, config_of, report, with_interval
from lipsync.core.lips import opening
from lipsync.metrics.lips import lmd, opening_r

PRESENTER = SAMPLES / "target.mp4"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    what = options.add_subparsers(dest="what", required=True)
    find = what.add_parser("find", help="tracks of clips, one file each")
    find.add_argument("work", type=Path, metavar="FOLDER")
    find.add_argument("clips", type=Path, nargs="*", metavar="CLIP")
    find.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    compare = what.add_parser("compare", help="the tracks of two folders")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    args = options.parse_args()
    if args.what == "find":
        find_all(args)
    else:
        report("landmarks", compared(args.before, args.after))


def default_clips() -> list[Path]:
    """Clips of many people, rooms and sizes."""
    s1 = sorted((DATA / "grid" / "s1").glob("*.mpg"))
    return [
        *s1[:: max(1, len(s1) // 12)][:12],
        *sorted((DATA / "grid" / "others").glob("*/*.mpg")),
        *sorted((DATA / "address").glob("*.mp4")),
        PRESENTER,
    ]


def find_all(args: argparse.Namespace) -> None:
    """FOLDER/<speaker>-<clip>.npz: the track's lips, usable frames and head pose, and milliseconds of one core a
    frame."""
    from lipsync.store.cache import Cache
    from lipsync.target.analyse import follow_face

    config = config_of(args)
    for clip in args.clips or default_clips():
        begun = time.process_time()
        track = follow_face(clip, config, Cache(args.work / "cache")).track
        cost = 1e3 * (time.process_time() - begun) / len(track.valid)
        out = args.work / f"{clip.parent.name}-{clip.stem}.npz"
        np.savez(out, lips=track.lips.points, valid=track.valid, pose=track.pose, ms=cost)
        print(f"{out.name}  {len(track.valid)} frames, {track.valid.mean():.0%} usable, {cost:.1f} ms a frame")


def compared(before: Path, after: Path) -> dict:
    """By group of clips: AFTER against BEFORE; and of the presenter each against the truth."""
    rows: dict[str, list[dict]] = {}
    for file in sorted(before.glob("*.npz")):
        if (after / file.name).is_file():
            pair = np.load(file), np.load(after / file.name)
            rows.setdefault(file.name.partition("-")[0], []).append(_against(*pair) | {"clip": file.stem})
    shown = {group: _summary(of_group) for group, of_group in rows.items()}
    truth = {name: _against_truth(folder) for name, folder in (("before", before), ("after", after))}
    return {"groups": shown, "presenter_truth": truth, "clips": [row for group in rows.values() for row in group]}


def _summary(rows: list[dict]) -> dict:
    return {name: with_interval([row[name] for row in rows]) for name in rows[0] if name != "clip"}


def _against(real: dict, ours: dict) -> dict:
    """Measures of one clip, over the frames that both find usable. jitter: second differences of the lips in the
    quietest fifth of the frames, relative."""
    both = real["valid"] & ours["valid"]
    a, b = opening(real["lips"])[both], opening(ours["lips"])[both]
    return {
        "opening_r": opening_r(b, a),
        "spread": float(b.std() / a.std()),
        "lips_apart": lmd(ours["lips"][both], real["lips"][both]),
        "lips_apart_means_removed": lmd(ours["lips"][both], real["lips"][both], remove_means=True),
        "jitter": _jitter(ours["lips"], real["lips"], both) / _jitter(real["lips"], real["lips"], both),
        "yaw_apart_deg": float(np.abs(ours["pose"][both, 0] - real["pose"][both, 0]).mean()),
        "usable_before": float(real["valid"].mean()),
        "usable_after": float(ours["valid"].mean()),
        "ms_before": float(real["ms"]),
        "ms_after": float(ours["ms"]),
    }


def _jitter(lips: np.ndarray, reference: np.ndarray, use: np.ndarray) -> float:
    """Mean second difference of lips where those of `reference` hardly move."""
    speed = np.abs(np.diff(opening(reference), prepend=opening(reference[:1])))
    quiet = use & (speed <= np.quantile(speed[use], 0.2))
    quiet = quiet[1:-1] & use[:-2] & use[2:]
    return float(np.linalg.norm(np.diff(lips, 2, axis=0), axis=-1)[quiet].mean())


def _against_truth(folder: Path) -> dict | None:
    """Lips found in the presenter's clip against those it was drawn with."""
    from samples.presenter.clip import clocks, truth_of
    from samples.presenter.render import Presenter
    from samples.presenter.speech import load_phones
    from video.probe import probe

    file = folder / f"{PRESENTER.parent.name}-{PRESENTER.stem}.npz"
    if not file.is_file():
        return None
    found, stream = np.load(file), probe(PRESENTER)
    phones = load_phones(PRESENTER.with_suffix(".json"))
    presenter = Presenter((stream.width, stream.height), pauses=phones.pauses())
    rate = stream.clock.rate
    head, speech = clocks(len(found["valid"]) / float(rate), rate, None)
    truth = truth_of(presenter, phones, head, speech)
    use = found["valid"]
    ours, real = opening(found["lips"])[use], opening(truth.lips_face)[use]
    return {
        "opening_r": opening_r(ours, real),
        "spread": float(ours.std() / real.std()),
        "lips_apart": lmd(found["lips"][use], truth.lips_face[use]),
        "lips_apart_means_removed": lmd(found["lips"][use], truth.lips_face[use], remove_means=True),
        "yaw_apart_deg": float(np.abs(found["pose"][use, 0] - truth.pose[use, 0]).mean()),
    }


if __name__ == "__main__":
    main()
