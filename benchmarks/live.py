"""Live lips against the clock: frames dropped, and how long after a sound the frame that shows it comes.
python -m benchmarks.live [--seconds 60]

`lipsync live` is fed through a pipe, 10 ms of sound every 10 ms, and its pictures are read from the other end. The
sound is silence for as long as the target takes to play to and fro, then speech, with a pause before every 4 s of it:
where a picture first differs from the one a whole round earlier, its mouth has begun to move."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import av
import numpy as np

from audio.load import RATE, load_speech
from benchmarks.common import SAMPLES, parser, report, sample_target

BLOCK = RATE // 100


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--held-mib", type=int, default=256, help="frames held: a round must end before speech begins")
    args = options.parse_args()
    command = [sys.executable, "-m", "lipsync", "live", str(sample_target()), "--speech", "-", "--to", "-"]
    command += ["--set", f"live.held_mib={args.held_mib}"]
    pipe, environment = subprocess.PIPE, os.environ | {"LIPSYNC_CACHE": str(args.work / "cache")}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
        sound_in, pictures_out, said_by = process.stdin, process.stdout, process.stderr
        assert sound_in and pictures_out and said_by  # noqa: S101
        for line in said_by:
            if b"listening" in line:
                break
        sound, begins = _sound(args.seconds)
        fed: list[float] = []
        threading.Thread(target=_feed, args=(sound_in, sound, fed), daemon=True).start()
        came, mouths, rate = _pictures(pictures_out)
        said = said_by.read().decode()
    delays = np.array([at - fed[min(len(fed) - 1, int(row / rate * 100))] for row, at in came.items()])
    quantiles = {"median": 0.5, "p95": 0.95, "most": 1.0}
    report(
        "live",
        {
            "seconds": args.seconds,
            "frames": len(came),
            "dropped": max(came) + 1 - len(came),
            "sound_to_frame_ms": {name: round(1000 * float(np.quantile(delays, q))) for name, q in quantiles.items()},
            "speech_to_moving_mouth_ms": [_reaction(mouths, came, fed, begin, rate) for begin in begins],
            "said": said.strip().splitlines()[-1],
        },
    )


def _sound(seconds: float) -> tuple[np.ndarray, list[float]]:
    """The samples, and where in them speech begins."""
    speech = load_speech(SAMPLES / "speech.wav").samples.numpy()
    first = int(np.argmax(np.abs(speech) > 0.05))
    part = speech[first : first + 4 * RATE]
    out, begins, at = np.zeros(round(seconds * RATE), np.float32), [], round(0.4 * seconds * RATE)
    while at + len(part) < len(out):
        out[at : at + len(part)] = part
        begins.append(at / RATE)
        at += len(part) + RATE
    return out, begins


def _feed(pipe, sound: np.ndarray, fed: list[float]) -> None:
    """Block after block when it was said; fed: when that was."""
    data, start = np.rint(sound * 32767).astype("<i2"), time.monotonic()
    for k in range(len(data) // BLOCK):
        time.sleep(max(0.0, start + (k + 1) / 100 - time.monotonic()))
        fed.append(time.monotonic())
        pipe.write(data[k * BLOCK : (k + 1) * BLOCK].tobytes())
        pipe.flush()
    pipe.close()


def _pictures(pipe: Any) -> tuple[dict[int, float], dict[int, np.ndarray], float]:
    """When each picture came, the pictures, small, by row, and their rate."""
    came, small = {}, {}
    container: Any
    with av.open(pipe, "r", format="nut") as container:
        track = container.streams.video[0]
        rate = float(track.average_rate or 25)
        for frame in container.decode(track):
            row = round(frame.time * rate)
            came[row] = time.monotonic()
            small[row] = frame.to_ndarray()[: frame.height : 4, : frame.width : 4].astype(np.int16)
    return came, small, rate


def _reaction(mouths: dict[int, np.ndarray], came: dict[int, float], fed: list[float], begin: float, rate: float):
    """Milliseconds from the first sound of speech to the picture that first differs from the one a round before; None
    where no round is over."""
    turn = _round(mouths)
    for row in range(int(begin * rate) - 5, int((begin + 1) * rate)):
        if row in mouths and row - turn in mouths and np.abs(mouths[row] - mouths[row - turn]).max() > 24:
            return round(1000 * (came[row] - fed[int(begin * 100)]))
    return None


def _round(mouths: dict[int, np.ndarray]) -> int:
    """Rows after which the same picture comes again, while nobody speaks."""
    first = mouths[0]
    again = (n for n in range(8, max(mouths)) if n in mouths and np.abs(mouths[n] - first).max() <= 2)
    return next(again, 10**9)


if __name__ == "__main__":
    main()
