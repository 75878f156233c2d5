"""Every command and every example in Python that the pages show is run, on seconds of the synthetic presenter.
Learning is cut short by options that the user does not type; else the lines are run as they stand, by bash, each page
in a folder of its own, top to bottom. Slow:  make test-docs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support import ROOT, SAMPLES
from tests.support.documented import Typed, pages, python_blocks, typed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

#: What cannot be run here, by a piece of the line, and why.
NOT_RUN = {
    "make ": "an environment and minutes of their own; continuous integration runs them",
    "pytest": "these tests themselves",
    "pre-commit": "changes the clone's hooks",
    "pipx install": "tests/test_install.py installs the wheel and the sdist",
    "uv tool install": "tests/test_install.py installs the wheel and the sdist",
    "pip install": "tests/test_install.py installs the wheel and the sdist",
    "docker ": "needs Docker",
    "--microphone": "needs a microphone",
    "ray start": "needs more than one machine",
    "export RAY_": "needs more than one machine",
    "s3://": "needs a store on the network",
    "lipsync ui": "stays open; tests/lipsync/ui starts it",
    "http_client.py": "needs the page; tests/lipsync/ui calls it",
    "--install-completion": "changes the user's shell; tests/lipsync/cli tests it",
    "--show-completion": "asks which shell it was typed in; tests/lipsync/cli tests it",
    "espeak-ng -w": "needs espeak-ng",
    "espeak-ng --stdout": "needs espeak-ng",
    "benchmarks.catalogue": "measures for many minutes",
    "samples.presenter target": "renders for minutes",
    "samples.presenter speak": "needs flite",
}
#: What a page takes for granted that the reader has done before.
BEFORE = dict.fromkeys(("samples/README.md", "docs/quality.md"), "lipsync dub target.mp4 speech.wav -o out.mp4")
#: Examples in Python that hold names for what the reader has.
NOT_RUN_PYTHON = {"pipe_in": "a pipe and a player", "my_model": "somebody's synthesiser"}

_LEARNT = ("pix2pix", "pix2pix_hd", "autoencoder", "vae", "vq_vae", "style", "cycle", "hybrid", "fsgan")
SHORT = ["lips.steps=20", "lips.members=1", *(f"{name}.steps=2" for name in _LEARNT)]
#: `lipsync`, with learning cut short and files replaced.
WRAPPER = """#!{python}
import sys
sys.path.insert(0, {root!r})
import typer
from lipsync.cli.app import app, main
command, words = typer.main.get_command(app), sys.argv[1:]
for word in list(words):
    command = getattr(command, "commands", {{}}).get(word, command)
options = {{name for parameter in command.params for name in parameter.opts}}
for setting in {short!r} if "--set" in options else ():
    sys.argv += ["--set", setting]
if "--force" in options and "--force" not in sys.argv:
    sys.argv.append("--force")
main()
"""
JOBS = "target,speech,out\ntarget.mp4,speech.wav,one.mp4\n"


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """A folder with every file that the pages name: a target of 8 s, more of the same person, speech of 2 s."""
    folder = tmp_path_factory.mktemp("material")
    _film(folder / "target.mp4", 0, 8)
    _film(folder / "more.mp4", 10, 4)
    _sound(folder / "speech.wav", SAMPLES / "speech.wav", 0, 2)
    for name in ("film.mp4", "interview.mp4", "master.mp4", "real.mp4", "stranger.mp4", "clips/anna.mp4"):
        _linked(folder / "target.mp4", folder / name)
    for name in ("a.mp4", "actor.mp4"):
        _linked(folder / "more.mp4", folder / name)
    _film(folder / "b.mp4", 14, 4)
    _film(folder / "film.mkv", 0, 8)
    spoken = ("line", "track", "german", "sentence", "translated", "voice", "music", "finished", "voices/anna")
    for name in spoken:
        _linked(folder / "speech.wav", folder / f"{name}.wav")
    (folder / "jobs.csv").write_text(JOBS)
    from lipsync.provenance.certificates import make_development_certificate

    made = make_development_certificate(folder)
    for path, name in zip(made, ("me.pem", "me-key.pem"), strict=True):
        path.rename(folder / name)
    for name, script in {
        "some-program": "cat speech.raw",
        "some-speech-program": "cat speech.raw",
        "ffplay": "cat >/dev/null",
    }.items():
        _program(folder / "bin" / name, f"#!/bin/sh\n{script}\n")
    (folder / "speech.raw").write_bytes((folder / "speech.wav").read_bytes()[44:])
    wrapper = WRAPPER.format(python=sys.executable, root=str(ROOT), short=SHORT)
    _program(folder / "bin" / "lipsync", wrapper)
    _program(folder / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    return folder


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _linked(source: Path, link: Path) -> None:
    link.parent.mkdir(exist_ok=True)
    os.link(source, link)


def _sound(path: Path, source: Path, start_s: float, length_s: float) -> None:
    import soundfile

    samples, rate = soundfile.read(source, dtype="int16")
    soundfile.write(path, samples[int(start_s * rate) : int((start_s + length_s) * rate)], rate)


def _film(path: Path, start_s: int, length_s: int) -> None:
    """Seconds of samples/target.mp4 at 480x270, with their sound."""
    import cv2
    import numpy as np
    import torch

    from video.clock import FrameClock
    from video.probe import probe
    from video.read import read_frames
    from video.write import VideoWriter

    sound = path.with_suffix(".sound.wav")
    _sound(sound, SAMPLES / "target.wav", start_s, length_s)
    clock = FrameClock.constant(25 * length_s, Fraction(25))
    with VideoWriter(path, width=480, height=270, clock=clock, codec="h264", speech=sound) as writer:
        for batch in read_frames(probe(SAMPLES / "target.mp4"), 25, start=25 * start_s, stop=25 * (start_s + length_s)):
            small = [
                cv2.resize(rgb, (480, 270), interpolation=cv2.INTER_AREA)
                for rgb in batch.rgb.permute(0, 2, 3, 1).numpy()
            ]
            writer.write(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous())
    sound.unlink()


@pytest.fixture(scope="module")
def environment(material, tmp_path_factory) -> dict[str, str]:
    return os.environ | {
        "PATH": f"{material / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path_factory.mktemp("home")),
        "LIPSYNC_CACHE": str(tmp_path_factory.mktemp("cache")),
    }


@pytest.fixture
def folder(material, tmp_path) -> Path:
    """A page's own folder, with the material and the samples."""
    own = tmp_path / "page"
    shutil.copytree(material, own, copy_function=os.link)
    (own / "samples").symlink_to(SAMPLES)
    return own


def not_run(line: Typed) -> str | None:
    return next((why for piece, why in NOT_RUN.items() if piece in f"{line.text} "), None)


RUN = [(page, [line for line in typed(page) if not not_run(line)]) for page in pages()]


@pytest.mark.parametrize("lines", [pytest.param(lines, id=page.name) for page, lines in RUN if lines])
def test_the_commands_of_a_page_run(lines, folder, environment):
    failed = []
    before = BEFORE.get(lines[0].page)
    for line in [*([Typed(before, lines[0].page, 0)] if before else []), *lines]:
        text = re.sub(r"lipsync cache clear", "lipsync cache clear --help", line.text)  # other pages need what is kept
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        if done.returncode:
            failed.append(f"{line.place}: {line.text}\n  exit {done.returncode}: {done.stderr.strip()[-600:]}")
    assert not failed, "\n".join(failed)


def test_every_reason_not_to_run_something_is_needed():
    whole = "\n".join(f"{line.text} " for page in pages() for line in typed(page))
    assert not [piece for piece in NOT_RUN if piece not in whole]


BLOCKS = [
    block for page in pages() for block in python_blocks(page) if not any(name in block.text for name in NOT_RUN_PYTHON)
]


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in BLOCKS])
def test_the_examples_in_python_run(block, folder, environment):
    done = subprocess.run(
        [sys.executable, "-c", block.text], cwd=folder, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-2000:]
