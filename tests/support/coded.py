"""A dub whose every frame says its own number, with a receipt and a face, for tests of the report: no face is looked
for and nothing is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch

from lipsync.core.lips import LIPS_FROM_68, LOWER_INNER, UPPER_INNER
from lipsync.core.types import FaceTrack, Footage, LipTrack, TargetVideo
from lipsync.evaluation.tells import Audit, Moment, Tell
from lipsync.pipelines.report import Seen
from lipsync.store.cache import content_hash
from lipsync.store.preflight import receipt_path
from lipsync.store.receipt import (
    Doubt,
    DoubtfulSpan,
    InputFile,
    Inputs,
    Marks,
    Output,
    PlannedRows,
    Receipt,
    Retiming,
    Span,
    SpeakerFacts,
)
from video.clock import FrameClock
from video.probe import probe
from video.write import VideoWriter

WIDTH, HEIGHT, BITS = 128, 96, 8
#: The lips' box in every frame: centre, width.
LIPS_AT, LIPS_WIDE = (64.0, 72.0), 30.0


def coded(number: int, is_dub: bool) -> np.ndarray:
    """(3,H,W) uint8: a bit a block along the top, white = 1; below it grey, light in a dub, dark in an original."""
    rgb = np.full((3, HEIGHT, WIDTH), 180 if is_dub else 60, np.uint8)
    for bit in range(BITS):
        side = WIDTH // BITS
        rgb[:, : HEIGHT // 2, bit * side : (bit + 1) * side] = 255 * (number >> bit & 1)
    return rgb


def write_coded(path: Path, numbers: list[int], clock: FrameClock, is_dub: bool, sound: Path | None = None) -> None:
    with VideoWriter(path, width=WIDTH, height=HEIGHT, clock=clock, codec="ffv1", speech=sound) as writer:
        for number in numbers:
            writer.write(torch.from_numpy(coded(number, is_dub))[None])


@dataclass(frozen=True)
class CodedDub:
    """out, target: the files; source: the target's frame of each row; seen, audit: what a report is made of."""

    out: Path
    target: Path
    source: list[int]
    seen: Seen
    audit: Audit


def coded_dub(folder: Path, clock: FrameClock, moments: tuple[Moment, ...] = (), note: str = "") -> CodedDub:
    """Row i is coded i, over the target's frame 3 i modulo the length; the sound clicks once a second. The wanted mouth
    rests to row 7 and closes at rows 10 and 20, the drawn one not at 20."""
    n, folder = len(clock), Path(folder)
    source = [3 * i % n for i in range(n)]
    clicks = np.zeros((round(float(clock.duration_s) * 16000), 1), np.float32)
    for second in range(int(clock.duration_s)):
        clicks[second * 16000 + 8000 : second * 16000 + 8160] = 0.8
    soundfile.write(folder / "clicks.wav", clicks, 16000)
    out, target = folder / "dub & co.mkv", folder / "target.mkv"
    write_coded(target, list(range(n)), FrameClock.constant(n, Fraction(25)), False)
    write_coded(out, list(range(n)), clock, True, folder / "clicks.wav")
    wanted = np.full(n, 0.2)
    wanted[[*range(8), 10, 20]] = 0.01
    drawn = wanted.copy()
    drawn[20] = 0.2
    edges = [*clock.seconds.tolist(), float(clock.duration_s)]
    receipt = Receipt(
        inputs=Inputs(target=InputFile(str(target), content_hash(target))),
        changed=[[0.0, edges[-1]]],
        output=Output(str(out), n, float(clock.duration_s), "25"),
        marks=Marks(["tags", "XMP"]),
        people=1,
        speakers=[
            SpeakerFacts(0, [[0.0, edges[-1]]], 1.0, opening=wanted.tolist(), closed_gap=0.03,
                         closures=[[edges[i], edges[i + 1]] for i in (10, 20)])
        ],
        retiming=Retiming("retime", seeks=[0, 14]),
        plan=PlannedRows(source, [0] * n),
        rendered_share=0.9,
        passed_through=[Span(2, 5, edges[2], edges[6], "turned too far")],
        doubt=Doubt(0.65, 0.1, [DoubtfulSpan(30, 33, edges[30], edges[34], "torn lips", 0.9)],
                    [0.9 if i == 31 else 0.7 if 30 <= i <= 33 else 0.1 for i in range(n)]),
        notes=[note] if note else [],
        seconds={"faces": 2.0, "dub": 6.0, "total": 8.5},
    )  # fmt: skip
    receipt.save(receipt_path(out))
    stream = probe(out)
    audit = Audit(
        (
            Tell("flicker", "Flicker", "bad", 2.0, (0.8, 1.2), "x", "The mouth flickers.", moments),
            Tell("blur", "Blur", "pass", 1.0, (0.8, 1.2), "x", "It is sharp.", (Moment(0.1, 0.2, 1.0),)),
            Tell("hands", "Hands", "not measured", None, None, "", "No hands are seen.", ()),
        ),
        ("0",),
        float(clock.duration_s),
        ("It cannot know everything.",),
    )
    seen = Seen(stream, receipt, probe(target), [_film(stream, out, drawn)])
    return CodedDub(out, target, source, seen, audit)


def _film(stream, out: Path, gap: np.ndarray) -> Footage:
    n = len(stream)
    lips = np.zeros((n, 18, 2), np.float32)
    lips[:, LOWER_INNER, 1] = gap[:, None] / 2
    lips[:, UPPER_INNER, 1] = -gap[:, None] / 2
    landmarks = np.tile(np.array(LIPS_AT, np.float32), (n, 68, 1))
    landmarks[:, LIPS_FROM_68[[0, 6]], 0] = np.array(LIPS_AT[0]) + LIPS_WIDE * np.array([-0.5, 0.5])
    track = FaceTrack(
        pixel_from_face=np.tile(np.eye(3), (n, 1, 1)),
        landmarks=landmarks,
        lips=LipTrack(lips, np.ones(n, bool), stream.clock),
        pose=np.zeros((n, 3), np.float32),
        eyes=np.ones(n, np.float32),
        valid=np.ones(n, bool),
        reason=np.zeros(n, np.uint8),
        shot=np.zeros(n, np.int32),
    )
    video = TargetVideo(out, stream.clock, stream.width, stream.height, "")
    return Footage(video, stream, track, 1, "")
