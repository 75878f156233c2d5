"""What a GPU brings, in one command on a bare machine:  python -m benchmarks.gpu_check gpu-pack.zip --wheels FOLDER

It needs torch, numpy, OpenCV, numba, scipy, safetensors, jinja2, typer, rich and pytest there, and what else is missing
as wheels in FOLDER (av, soundfile with cffi and pycparser, pydantic with its core, of the versions that pyproject.toml
asks for): no mediapipe, no network. The pack
holds what does; `python -m benchmarks.gpu_check --pack gpu-pack.zip` makes it where everything is installed.
`--device cpu` runs the same without a GPU, to practise.

Printed, and written to --out, is one JSON object. Every section is a process of its own with a time limit: what it
found before it failed or ran out of time stays, with its error beside it. tests: those marked `gpu`; speed-720p,
speed-1080p, speed-2160p: frames a second of whole warm dubs, where their time goes, memory, places that wait for the
GPU; train-RECIPE: steps a second of the larger recipes on the GPU and on the CPU; codecs: what FFmpeg's NVENC and NVDEC
do. Traces of torch's profiler go beside --out."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from lipsync.core.environment import prepare_environment

ROOT = Path(__file__).resolve().parents[1]
#: Section -> the most seconds it may take.
SECTIONS = {
    "machine": 40, "tests": 100, "speed-1080p": 75, "speed-720p": 60, "speed-2160p": 75, "train-hybrid": 90,
    "train-pix2pix": 90, "train-pix2pix-hd": 90, "train-fsgan": 90, "codecs": 30,
}  # fmt: skip
#: What there is for all of them; where --seconds says more, every section may take more.
USUAL_S = 460.0
#: Not begun with less time than this.
_LEAST_S = 5.0


def main() -> None:
    args = _arguments()
    prepare_environment()  # the sections inherit it: threads that wait by spinning would make all figures too low
    if args.make is not None:
        from benchmarks.gpu_pack import make_pack

        make_pack(args.make, args.work)
        return
    if args.pack is None:
        raise SystemExit("Name the pack to use, or make one with --pack FILE.")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lipsync-gpu-") as folder:
        work, result = Path(folder), {"benchmark": "gpu_check", "device": args.device, "sections": {}}
        site = install_wheels(args.wheels, work / "site") if args.wheels else None
        with zipfile.ZipFile(args.pack) as pack:
            pack.extractall(work / "pack")
        for name, most_s in chosen(args.only).items():
            left_s = args.seconds - (time.monotonic() - start)
            most_s *= max(1.0, args.seconds / USUAL_S)
            result["sections"][name] = run_section(name, min(most_s, left_s), args, work, site)
            result["seconds"] = round(time.monotonic() - start, 1)
            args.out.write_text(json.dumps(result, indent=1))
            print(f"{name}: {_short(result['sections'][name])}", file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    made.add_argument("pack", type=Path, nargs="?", help="the file that --pack made")
    made.add_argument("--pack", dest="make", type=Path, metavar="FILE", help="make the pack, where mediapipe is")
    made.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lipsync-benchmarks")
    made.add_argument("--wheels", type=Path, metavar="FOLDER", help="wheels to install for this run alone")
    made.add_argument("--device", default="cuda")
    made.add_argument("--only", default="", help=f"of {', '.join(SECTIONS)}; with commas between")
    made.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    made.add_argument("--seconds", type=float, default=USUAL_S, help="for everything")
    made.add_argument("--train-seconds", type=float, default=45.0, help="for each recipe on the GPU")
    made.add_argument("--rows", type=float, default=1.0, help="share of the usual number of frames of a speed section")
    return made.parse_args()


def chosen(only: str) -> dict[str, int]:
    """The sections to run. SystemExit: an unknown one."""
    names = [name for name in only.split(",") if name] or list(SECTIONS)
    if unknown := [name for name in names if name not in SECTIONS]:
        raise SystemExit(f"--only: there is no section {unknown[0]!r}. Known: {', '.join(SECTIONS)}.")
    return {name: SECTIONS[name] for name in names}


def install_wheels(wheels: Path, site: Path) -> Path:
    """A folder to import the wheels from."""
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise SystemExit(f"--wheels: there is no wheel in {wheels}.")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", str(site), *files], check=True)
    return site


def run_section(name: str, most_s: float, args: argparse.Namespace, work: Path, site: Path | None) -> dict:
    """What the section wrote, row by row, how long it took, and why it stopped early where it did."""
    if most_s < _LEAST_S:
        return {"rows": [], "error": f"no time was left; of {args.seconds:.0f} s for everything (--seconds)"}
    rows, log = work / f"{name}.jsonl", work / f"{name}.log"
    words = ["-m", "benchmarks.gpu_sections", name, "--pack", str(work / "pack"), "--rows-file", str(rows)]
    words += ["--device", args.device, "--train-seconds", str(args.train_seconds), "--share", str(args.rows)]
    path = os.pathsep.join(map(str, filter(None, (site, ROOT, os.environ.get("PYTHONPATH")))))
    start, error = time.monotonic(), None
    with log.open("w") as said:
        try:
            child = subprocess.run(
                [sys.executable, *words], cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, stdout=said, stderr=said,
                timeout=most_s, check=False,
            )  # fmt: skip
            if child.returncode:
                error = f"ended with status {child.returncode}: {log.read_text()[-2000:]}"
        except subprocess.TimeoutExpired:
            error = f"stopped after {most_s:.0f} s: {log.read_text()[-500:]}"
    lines = rows.read_text().splitlines() if rows.exists() else []
    found = {"rows": [json.loads(line) for line in lines if line.endswith("}")]}
    found |= {"seconds": round(time.monotonic() - start, 1)}
    for trace in sorted(work.glob("*.trace.json.gz")):
        shutil.move(trace, args.out.with_name(trace.name))
    return found | ({"error": error} if error else {})


def _short(section: dict) -> str:
    words = f"{len(section['rows'])} rows in {section.get('seconds', 0)} s"
    return f"{words}; {section['error'].splitlines()[-1]}" if "error" in section else words


if __name__ == "__main__":
    main()
