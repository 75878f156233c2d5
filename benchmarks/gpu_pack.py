"""The pack of `benchmarks.gpu_check`: the shipped presenter at three sizes with the analysis that needs mediapipe, a
lip model, and the speech."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.common import ROOT, SAMPLES
from lipsync.config.schema import DubConfig
from lipsync.core.progress import Lines
from lipsync.pipelines.models import lip_model_for
from lipsync.store.cache import Cache, content_hash
from lipsync.target.analyse import analyse, follow_face, track_key
from media.atomic import atomic_write
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter

#: Height -> frames of the clip; at 720 it is the shipped one.
CLIPS = {720: 0, 1080: 125, 2160: 75}


def make_pack(path: Path, work: Path) -> None:
    """Writes the pack; analyses are kept in `work` for the next time."""
    work.mkdir(parents=True, exist_ok=True)
    cache, config = Cache(work / "cache"), DubConfig(device="cpu")
    with tempfile.TemporaryDirectory(prefix="lipsync-pack-") as folder, Lines(sys.stderr) as hook:
        made = Path(folder)
        shutil.copy(SAMPLES / "speech.wav", made)
        for height, frames in CLIPS.items():
            clip = made / f"target-{height}p.mp4"
            if height == 720:
                shutil.copy(SAMPLES / "target.mp4", clip)
            else:
                enlarge(SAMPLES / "target.mp4", clip, height, frames)
            follow_face(clip, config, cache, hook)
            key = track_key(content_hash(clip), config)
            shutil.copytree(cache.folder / "track" / key, made / "cache" / "track" / key)
        subject = analyse(SAMPLES / "target.mp4", config, cache, hook)
        model = lip_model_for(subject.films, config.lips, cache, torch.device("cpu"), hook)
        model.save(made / "lips.safetensors")
        (made / "pack.json").write_text(json.dumps({"commit": _commit(), "clips": CLIPS}))
        with atomic_write(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as pack:
            for file in sorted(made.rglob("*")):
                pack.write(file, file.relative_to(made))
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB", file=sys.stderr)


def enlarge(source: Path, out: Path, height: int, frames: int) -> None:
    """The first frames of a film at another height."""
    stream = probe(source)
    size = (round(stream.width * height / stream.height / 2) * 2, height)
    clock = FrameClock.constant(frames, Fraction(25))
    with VideoWriter(out, width=size[0], height=height, clock=clock, colour=replace(stream.colour), crf=20) as writer:
        for batch in read_frames(stream, 5, stop=frames):
            large = [
                cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC) for rgb in batch.rgb.permute(0, 2, 3, 1).numpy()
            ]
            writer.write(torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).contiguous())


def _commit() -> str:
    words = ["git", "rev-parse", "HEAD"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
