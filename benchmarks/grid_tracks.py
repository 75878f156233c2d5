"""One npz of lips and pose per GRID clip (see training/grid.py).  python -m benchmarks.grid_tracks OUTDIR [CLIP...]"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.common import DATA
from lipsync.core.progress import Lines
from training import grid


def main(out: Path, clips: list[Path]) -> None:
    start = time.perf_counter()
    with Lines(sys.stderr) as hook:
        grid.follow(clips, out, hook)
    print(f"{len(clips)} clips in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    root = DATA / "grid"
    chosen = [Path(p) for p in sys.argv[2:]] or sorted(root.glob("s1/*.mpg")) + sorted(root.glob("others/*/*.mpg"))
    main(Path(sys.argv[1]), chosen)
