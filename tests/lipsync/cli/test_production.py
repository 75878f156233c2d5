"""Every command of docs/production.md, as it stands there, on small films of the presenter."""

from __future__ import annotations

import os
import re
import shlex
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from lipsync.cli.app import app
from lipsync.store.receipt import Receipt
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter

DOCUMENT = Path(__file__).parents[3] / "docs" / "production.md"
RATE, SECONDS = 16000, 8


def recipes() -> dict[str, list[str]]:
    """Heading -> the commands below it."""
    parts = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {
        part.splitlines()[0]: [
            line for block in re.findall(r"```sh\n(.*?)```", part, re.S) for line in block.splitlines()
        ]
        for part in parts
    }


@pytest.fixture(scope="module")
def studio(small_target, people_film, tmp_path_factory):
    """A folder with everything that the recipes name; the films are 8 s long."""
    folder = tmp_path_factory.mktemp("studio")
    samples, rate = soundfile.read(DOCUMENT.parents[1] / "samples" / "speech.wav", dtype="int16")
    for name, seconds in {
        "german": SECONDS,
        "sentence": 2.9,
        "voice": SECONDS,
        "speech": SECONDS,
        "finished": SECONDS,
    }.items():
        soundfile.write(folder / f"{name}.wav", samples[: int(seconds * rate)], rate)
    soundfile.write(folder / "music.wav", (3000 * np.sin(np.arange(RATE * SECONDS) / 20)).astype(np.int16), RATE)
    stream = probe(small_target)
    rgb = next(iter(read_frames(stream, SECONDS * 25))).rgb
    clock = FrameClock.constant(SECONDS * 25, Fraction(25))
    like = {"width": stream.width, "height": stream.height, "clock": clock, "speech": small_target}
    ten = {"codec": "libx265", "pix_fmt": "yuv420p10le", "preset": "ultrafast"}
    for name, how in {"film.mp4": {}, "film.mkv": {}, "target.mp4": {}, "actor.mp4": {}, "master.mp4": ten}.items():
        with VideoWriter(folder / name, audio_end_s=Fraction(SECONDS), **like, **how) as writer:
            writer.write(rgb)
    interview = probe(people_film)
    with VideoWriter(
        folder / "interview.mp4",
        width=interview.width,
        height=interview.height,
        clock=interview.clock,
        speech=people_film,
    ) as writer:
        for batch in read_frames(interview):
            writer.write(batch.rgb)
    said = samples[: int(float(interview.clock.duration_s) * rate)]
    soundfile.write(folder / "translated.wav", said, rate)
    csv = re.search(r"```csv\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    assert csv is not None
    (folder / "jobs.csv").write_text(csv[1])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("heading", recipes())
def test_the_recipe_does_what_it_says(heading, studio, shared_cache, monkeypatch):
    monkeypatch.chdir(studio)
    monkeypatch.setenv("LIPSYNC_CACHE", str(shared_cache.folder))
    for command in recipes()[heading]:
        quick = [] if " people " in command else ["--set", "lips.steps=40", "--set", "lips.members=1"]
        name, *words = [*shlex.split(command), *quick]
        assert name == "lipsync"
        made = CliRunner().invoke(app, words, catch_exceptions=False)
        assert made.exit_code == 0, made.output
        if words[0] == "dub":
            out = Path(words[words.index("-o") + 1])
            receipt = Receipt.read(f"{out}.json")
            assert receipt is not None and receipt.rendered_share > 0.9 and os.path.getsize(out) > 10_000
            assert receipt.retiming.timeline == "keep", "every recipe here keeps the film's time"
            with av.open(str(out)) as container:
                length_s = float(container.duration or 0) / av.time_base
            assert length_s == pytest.approx(receipt.output.duration_s, abs=0.1)
    if heading == "A catalogue":
        assert {"part.mp4", "whole.mp4", "report.html"} <= set(os.listdir(studio / "dubbed"))
    if heading == "An HDR master":
        assert probe(studio / "master.de.mp4").pix_fmt == "yuv420p10le"
