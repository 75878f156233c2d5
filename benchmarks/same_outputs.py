"""Does a change of the program change what it makes?  python benchmarks/same_outputs.py --out FOLDER

Makes products through the command line of the checkout in which this file lies, and writes FOLDER/record.json: what
each product shows, says and holds. Run it before a change and after it, then:

    python benchmarks/same_outputs.py --compare before/record.json after/record.json

prints every difference, one line each, and ends with status 1 if there is one. Tensors that only changed their names
are told, but are no difference. --only NAME makes one product and keeps the others of the record. Imports nothing of
ours, so that it can be copied into another checkout. Products of GRID need LIPSYNC_DATA.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LIPSYNC_DATA", ROOT.parent / "shared" / "data"))
PROGRAM = [sys.executable, "-m", "lipsync"]

#: What goes into the commands.
INPUTS = {
    "sample": ROOT / "samples" / "target.mp4",
    "speech": ROOT / "samples" / "speech.wav",
    "grid1": DATA / "grid" / "s1" / "bbal7s.mpg",
    "grid2": DATA / "grid" / "s1" / "bbas1s.mpg",
    "grid3": DATA / "grid" / "s1" / "bbaf4p.mpg",
}

#: Every product: the command lines that make it. {here}: its folder. "> NAME" at the end keeps what a command prints.
PRODUCTS = {
    "dub-sample": ["dub {sample} {speech} -o {here}/dubbed.mp4 --force"],
    "dub-grid-12": ["dub {grid1} {grid2} -o {here}/dubbed.mp4"],
    "dub-grid-31": ["dub {grid3} {grid1} -o {here}/dubbed.mp4"],
    "lips-json": ["lips {speech} -o {here}/lips.json"],
    "lips-csv": ["lips {speech} -o {here}/lips.csv"],
    "lips-mp4": ["lips {speech} -o {here}/lips.mp4"],
    "lips-rhubarb-json": ["lips {speech} -o {here}/cues.json --format rhubarb-json"],
    "lips-rhubarb-tsv": ["lips {speech} -o {here}/cues.tsv --format rhubarb-tsv"],
    "lips-target": ["lips {speech} -o {here}/lips.json --target {sample} --json > said.json"],
    "batch": ["batch {here}/jobs.csv -o {here}/made --workers 2"],
    "texture": [
        "train texture pix2pix {sample} -o {here}/u.safetensors --set pix2pix.steps=40 --json > trained.json",
        "dub {sample} {speech} -o {here}/dub.mp4 --preview 2 --texture pix2pix --texture-weights {here}/u.safetensors",
    ],
    "compare": ["compare {sample} -o {here}/report --methods median,nearest,hybrid --set hybrid.steps=8"],
    "analyse": ["analyse {sample} --json > sample.json"],
    "analyse-grid": ["analyse {grid1} --json > grid.json"],
    "evaluate": ["evaluate {sample} {sample} --json > measures.json"],
    "evaluate-grid": [
        "dub {grid1} {grid2} -o {here}/dubbed.mp4",
        "evaluate {grid2} {here}/dubbed.mp4 --json > measures.json",
    ],
    "train-lips": ["train lips {grid1} {grid2} {grid3} -o {here}/a.safetensors --set lips.steps=40 --json > said.json"],
    "config": ["config > options.toml"],
}

#: The manifest of the product "batch". half: the second half of the speech, cut by this script.
JOBS = "target,speech,out\n{grid1},{grid2},one.mp4\n{grid2},{grid3},two.mp4\n{sample},{half},three.mp4\n"

INPUTS_MADE = ("jobs.csv", "half.wav")
#: What may differ: a pattern that ends the dotted place of a value in JSON (or is the name of a CSV column), and why.
FILTERS = {
    r"made_by|version|versions|commit": "versions of the program and of packages",
    r"id": "a receipt's id holds a hash of the program",
    r"output\.(sha256|bytes)": "of the whole file, which names the version; pictures and sound are hashed apart",
    r"seconds|seconds_per_frame\.\w+|took|elapsed_s|training_s|prepare_s|render_s|whole_s": "time that was taken",
    r"memory_mib|gpu_memory_mib|peak_rss_mib": "memory",
    r"date|created|made_at": "dates",
}
#: Within texts: becomes "lipsync VERSION". The folders of products, checkout and footage become <out>, <root>, <data>.
VERSION = r"lipsync \d+\.\d+[\w.]*"
#: Files not looked into: they tell times, and the JSON beside them has the numbers. (Of .html: the pictures.)
SKIPPED = {".tex", ".log"}


def main() -> int:
    options = argparse.ArgumentParser(description="Does a change of the program change what it makes?")
    options.add_argument("--out", type=Path, default=Path("same-outputs"), help="folder of the products and the record")
    options.add_argument("--only", action="append", metavar="NAME", choices=PRODUCTS, help="this product (repeatable)")
    options.add_argument("--compare", nargs=2, type=Path, metavar=("A.json", "B.json"))
    args = options.parse_args()
    if args.compare:
        return compared(*(json.loads(path.read_text()) for path in args.compare))
    return recorded(args.out.resolve(), args.only)


def recorded(out: Path, only: list[str] | None) -> int:
    """Makes the products and writes the record; 1 where a command failed."""
    out.mkdir(parents=True, exist_ok=True)
    place, failed = out / "record.json", False
    record = json.loads(place.read_text()) if only and place.exists() else {"products": {}}
    record["about"] = about()
    for name in only or PRODUCTS:
        missing = [path for path in inputs_of(name) if not path.exists()]
        if missing:
            print(f"{name}: left out, there is no {missing[0]}", flush=True)
            continue
        began_s = time.monotonic()
        statuses = made(name, out)
        record["products"][name] = {"statuses": statuses, "files": facts_of_folder(out / name, out)}
        place.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        failed |= any(statuses)
        print(f"{name}: status {statuses}, {time.monotonic() - began_s:.0f} s", flush=True)
    return int(failed)


def about() -> dict:
    """Where and with what the record was made; not compared."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"commit": git.stdout.strip(), "python": platform.python_version(), "cores": os.cpu_count()}


def inputs_of(name: str) -> list[Path]:
    text = " ".join([*PRODUCTS[name], JOBS if name == "batch" else ""])
    return [path for word, path in INPUTS.items() if f"{{{word}}}" in text]


def made(name: str, out: Path) -> list[int]:
    """Makes a product in a new folder with a cache of its own; the exit statuses of its commands."""
    here = out / name
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    cache, places = here / "cache", {**INPUTS, "here": here, "half": here / "half.wav"}
    if name == "batch":
        write_half(INPUTS["speech"], places["half"])
        (here / "jobs.csv").write_text(JOBS.format(**places))
    statuses = []
    for line in PRODUCTS[name]:
        words, _, kept = line.partition(" > ")
        command = [*PROGRAM, *(word.format(**places) for word in words.split())]
        with open(here / "commands.log", "a") as log, open(here / kept if kept else os.devnull, "w") as said:
            env = os.environ | {"LIPSYNC_CACHE": str(cache)}
            statuses.append(subprocess.run(command, cwd=ROOT, env=env, stdout=said, stderr=log, check=False).returncode)
    shutil.rmtree(cache, ignore_errors=True)
    return statuses


def write_half(speech: Path, half: Path) -> None:
    """The second half of a WAV file."""
    with wave.open(str(speech)) as whole, wave.open(str(half), "wb") as part:
        part.setparams(whole.getparams())
        whole.setpos(whole.getnframes() // 2)
        part.writeframes(whole.readframes(whole.getnframes()))


def facts_of_folder(here: Path, out: Path) -> dict:
    """What every file of a product holds, by its name."""
    files = sorted(path for path in here.rglob("*") if path.is_file() and path.name not in INPUTS_MADE)
    return {path.relative_to(here).as_posix(): facts_of(path, out) for path in files}


def facts_of(path: Path, out: Path) -> object:
    """What a file holds, without what may differ."""
    reader = {
        ".mp4": video_facts, ".png": picture_facts, ".html": page_facts,
        ".safetensors": lambda path: tensor_facts(path, out),
        ".json": lambda path: plain(json.loads(path.read_text()), out),
        ".csv": lambda path: table_facts(path, ",", out), ".tsv": lambda path: table_facts(path, "\t", out),
    }.get(path.suffix)  # fmt: skip
    if path.suffix in SKIPPED:
        return "not looked into"
    try:
        return reader(path) if reader else {"lines": [plain(line, out) for line in path.read_text().splitlines()]}
    except (ValueError, OSError) as trouble:
        return {"unreadable": type(trouble).__name__, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def video_facts(path: Path) -> dict:
    """Hashes of the decoded pictures, of when they are shown, and of the packets of sound."""
    import av

    shown, heard, times, sounds, sizes = hashlib.sha256(), hashlib.sha256(), [], [], set()
    file: Any
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            shown.update(frame.to_ndarray(format="rgb24").tobytes())
            times.append(str(frame.pts * frame.time_base))
            sizes.add(f"{frame.width}x{frame.height}")
        codecs = [stream.codec_context.name for stream in file.streams]
    file: Any
    with av.open(str(path)) as file:
        for packet in file.demux(audio=0) if file.streams.audio else ():
            heard.update(bytes(packet))
            sounds.append(None if packet.pts is None else str(packet.pts * packet.time_base))
    facts = {"frames": len(times), "sizes": sorted(sizes), "codecs": codecs, "pictures": shown.hexdigest()}
    sound = {"sound": heard.hexdigest(), "sound_packets": len(sounds), "sound_pts": digest(sounds)}
    return facts | {"pts": digest(times)} | sound


def picture_facts(path: Path) -> dict:
    """Size and hash of a picture's pixels."""
    import av

    file: Any
    with av.open(str(path)) as file:
        pixels = next(file.decode(video=0)).to_ndarray(format="rgb24")
    return {"shape": pixels.shape, "pixels": hashlib.sha256(pixels.tobytes()).hexdigest()}


def page_facts(path: Path) -> dict:
    """Hashes of the pictures and clips within a page."""
    media = re.findall(r"data:([\w/+-]+);base64,([\w/+=]+)", path.read_text())
    return {"media": [f"{kind} {hashlib.sha256(text.encode()).hexdigest()}" for kind, text in media]}


def tensor_facts(path: Path, out: Path) -> dict:
    """Every tensor's hash, kind and shape; a hash of all of them without their names; what the file says of itself."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")  # the header's length, the header as JSON, the numbers
    header = json.loads(data[8:start])
    said = {name: as_json(text) for name, text in header.pop("__metadata__", {}).items()}
    tensors = {}
    for name, about in header.items():
        first, end = about["data_offsets"]
        value = hashlib.sha256(data[start + first : start + end]).hexdigest()
        tensors[name] = f"{value} {about['dtype']} {about['shape']}"
    nameless = digest(sorted(tensors.values()))
    return {"tensors": dict(sorted(tensors.items())), "nameless": nameless, "metadata": plain(said, out)}


def table_facts(path: Path, comma: str, out: Path) -> dict:
    """The rows of a table as texts, without the columns that may differ."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file, delimiter=comma))
    may = {i for i, name in enumerate(rows[0] if rows else []) if may_differ(name)}
    return {"rows": [plain(comma.join(cell for i, cell in enumerate(row) if i not in may), out) for row in rows]}


def as_json(text: str) -> object:
    return json.loads(text) if text[:1] in ("{", "[") else text


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def may_differ(place: str) -> bool:
    return any(re.search(rf"(^|\.)({pattern})$", place) for pattern in FILTERS)


def plain(value: object, out: Path, place: str = "") -> object:
    """Plain values with `FILTERS`, `TEXT_FILTERS` and the folders of this run taken out."""
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if not may_differ(f"{place}.{name}")}
        return {name: plain(one, out, f"{place}.{name}") for name, one in kept.items()}
    if isinstance(value, list):
        return [plain(one, out, place) for one in value]
    if not isinstance(value, str):
        return value
    for folder, name in ((out, "<out>"), (ROOT, "<root>"), (DATA, "<data>")):
        value = value.replace(str(folder), name)
    return re.sub(VERSION, "lipsync VERSION", value)


def compared(a: dict, b: dict) -> int:
    """Prints the differences of two records; 1 where there is one."""
    differences = 0
    for line in unlike(a["products"], b["products"], ""):
        differences += not line.startswith("renamed:")
        print(line)
    print(f"{differences} differences in {len(set(a['products']) & set(b['products']))} products that both have")
    return int(differences > 0)


def unlike(a: object, b: object, place: str) -> Iterator[str]:
    """A line for every value that differs."""
    if isinstance(a, dict) and isinstance(b, dict):
        if "nameless" in a and a["nameless"] == b.get("nameless") and a["tensors"] != b["tensors"]:
            yield f"renamed: {place}: {sorted(set(a['tensors']) ^ set(b['tensors']))}"
            a, b = a | {"tensors": None}, b | {"tensors": None}
        for name in [*a, *(name for name in b if name not in a)]:
            here = f"{place}/{name}"
            if name not in a or name not in b:
                yield f"{here}: only in {'A' if name in a else 'B'}"
            else:
                yield from unlike(a[name], b[name], here)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, pair in enumerate(zip(a, b, strict=True)):
            yield from unlike(*pair, f"{place}[{i}]")
    elif a != b or type(a) is not type(b):
        yield f"{place}: {short(a)} | {short(b)}"


def short(value: object) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)[:100]


if __name__ == "__main__":
    sys.exit(main())
