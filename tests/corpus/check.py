"""Runs one item of the corpus through the command line and says what is wrong with what came out, and what was
measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from tests.corpus.corpus import Item
from tests.support import ROOT
from tests.support.video_clips import number_of

PRIOR = ROOT / "lipsync" / "weights" / "lips-prior-logmel.safetensors"
#: The sound begins with the first frame within this; the mouth follows the sound within a little more than one frame of
#: 25 a second.
SOUND_S, MOUTH_S = 0.005, 0.06
#: Lags tried, seconds; the correlation of mouth opening from which one says something.
LAGS_S = np.arange(-0.3, 0.301, 0.01)
FOLLOWS_R = 0.5


@dataclass(slots=True)
class Outcome:
    """What became of an item. faults: empty = right; figures: of the output, by name; said: the one sentence of a
    refusal."""

    item: Item
    status: int
    said: str
    seconds: float
    faults: list[str] = field(default_factory=list)
    figures: dict = field(default_factory=dict)


def run(item: Item, folder: Path, cache_folder: Path) -> Outcome:
    """Makes the item in `folder` (kept for others of the same name), dubs it, and checks everything."""
    place = folder / re.sub(r"\W+", "-", item.name)
    place.mkdir(parents=True)
    target, speech = item.target.write(folder), item.speech.write(folder)
    out = place / item.out
    words = ["dub", str(target), str(speech), "-o", str(out), "-q", "--set", f"lips.model={PRIOR}", *item.options]
    began = time.perf_counter()
    status, printed, said = (_apart if item.apart else _here)(words, cache_folder)
    outcome = Outcome(item, status, said.strip(), time.perf_counter() - began)
    left = sorted(path.name for path in place.iterdir())
    if "Traceback" in printed + said:
        outcome.faults.append("a traceback was printed")
    if item.says:
        _check_refusal(outcome, printed, left)
    elif status != 0:
        outcome.faults.append(f"ended with status {status}: {said.strip()[-300:]}")
    else:
        if left != sorted([item.out, item.out + ".json"]):
            outcome.faults.append(f"the folder holds {left}")
        _check_output(outcome, out, target, speech)
    return outcome


def _here(words: list[str], cache_folder: Path) -> tuple[int, str, str]:
    """(status, standard output, standard error) of the command line in this process; an exception that escapes is its
    traceback."""
    import traceback

    from typer.testing import CliRunner

    from lipsync.cli.app import app

    result = CliRunner().invoke(app, [*words, "--set", f"cache.folder={cache_folder}"])
    escaped = not isinstance(result.exception, SystemExit | None)
    return (
        result.exit_code,
        result.stdout,
        result.stderr + "".join(traceback.format_exception(result.exception) if escaped else ()),
    )


def _apart(words: list[str], cache_folder: Path) -> tuple[int, str, str]:
    """The same in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LIPSYNC_CACHE": str(cache_folder)}
    done = subprocess.run(
        [sys.executable, "-m", "lipsync", *words], env=env, capture_output=True, text=True, timeout=250, check=False
    )
    return done.returncode, done.stdout, done.stderr


def _check_refusal(outcome: Outcome, printed: str, left: list[str]) -> None:
    item = outcome.item
    if outcome.status != item.status:
        outcome.faults.append(f"status {outcome.status}, not {item.status}")
    if not re.search(item.says, outcome.said):
        outcome.faults.append(f"said {outcome.said[-300:]!r}, not {item.says!r}")
    if printed or outcome.said.count("\n") or not outcome.said.startswith("lipsync: "):
        outcome.faults.append(f"more than one sentence: {printed + outcome.said}")
    if left:
        outcome.faults.append(f"left behind: {left}")


def _check_output(outcome: Outcome, out: Path, target: Path, speech: Path) -> None:
    from video.probe import probe

    item, faults, figures = outcome.item, outcome.faults, outcome.figures
    receipt = json.loads(out.with_name(out.name + ".json").read_text())
    pictures, made = decoded(out), probe(out)
    shown = item.target.shown()
    n = max(1, round(item.speech.length_s * item.rate))
    figures |= {
        "frames": len(pictures),
        "length_s": float(made.clock.duration_s),
        "rate": str(made.clock.rate.limit_denominator(1001)),
    }
    expect = {
        "frames": (len(pictures), n),
        "frames by the receipt": (receipt["output"]["frames"], n),
        "frames by the clock": (len(made), n),
        "size": (pictures.shape[2:0:-1], shown[0].shape[1::-1]),
        "name in the receipt": (receipt["output"]["path"], str(out)),
        "bytes in the receipt": (receipt["output"]["bytes"], out.stat().st_size),
        "rotation": (made.rotation, probe(target).rotation),  # the order to turn it is kept
        "shape of pixels": (made.sample_aspect, item.sar),
    }
    faults += [f"{name}: {got}, not {want}" for name, (got, want) in expect.items() if got != want]
    if abs(made.clock.duration_s - n / item.rate) > Fraction(2, 1000) * n ** (out.suffix == ".mkv"):
        faults.append(f"plays {float(made.clock.duration_s):.4f} s, not {float(n / item.rate):.4f} s")
    if faults:
        return
    _check_notes(outcome, receipt)
    _check_spans(outcome, receipt, n)
    _check_pictures(outcome, receipt, pictures, shown)
    _check_colours(outcome, made, target)
    check_sound(outcome, out, made, speech)
    if n >= 20 and item.mouth and receipt["rendered_share"] > 0.5:
        _check_mouth(outcome, pictures, made, speech)


def decoded(path: Path) -> np.ndarray:
    """(T,H,W,3) uint8 of every frame, in order, by the program's own reader; any damage is an error."""
    from video.probe import probe
    from video.read import read_frames

    with av.open(str(path)) as container:
        plain = sum(1 for _ in container.decode(video=0))
    frames = np.concatenate([batch.rgb.permute(0, 2, 3, 1).numpy() for batch in read_frames(probe(path), 25)])
    if plain != len(frames):
        raise AssertionError(f"{path.name}: a plain decoder finds {plain} frames, the reader {len(frames)}")
    return frames


def _check_notes(outcome: Outcome, receipt: dict) -> None:
    notes = " | ".join(receipt["notes"])
    outcome.figures["notes"] = receipt["notes"]
    outcome.faults += [f"no note says {want!r}: {notes}" for want in outcome.item.notes if not re.search(want, notes)]


def _check_spans(outcome: Outcome, receipt: dict, n: int) -> None:
    """What was passed through, and why: shares of the output by reason."""
    got: dict[str, float] = {}
    for span in receipt["passed_through"]:
        got[span["reason"]] = got.get(span["reason"], 0) + (span["to_row"] + 1 - span["from_row"]) / n
    outcome.figures["passed"] = {reason: round(share, 3) for reason, share in got.items()}
    if abs(1 - sum(got.values()) - receipt["rendered_share"]) > 1e-6:
        outcome.faults.append(f"spans {got} and rendered share {receipt['rendered_share']} do not agree")
    for reason in {*got, *outcome.item.passed}:
        low, high = outcome.item.passed.get(reason, (0, 0))
        if not low <= got.get(reason, 0) <= high:
            outcome.faults.append(
                f"{got.get(reason, 0):.2f} of the output passed through as {reason!r}, not {low} to {high}"
            )


def _check_pictures(outcome: Outcome, receipt: dict, pictures: np.ndarray, shown: list[np.ndarray]) -> None:
    """Every row shows the frame that the plan names: its stamp, upper quarter and what must stay still; all of it if
    passed through."""
    item, plan = outcome.item, receipt["plan"]
    passed = np.zeros(len(pictures), bool)
    for span in receipt["passed_through"]:
        passed[span["from_row"] : span["to_row"] + 1] = True
    quarter, worst, wrong = shown[0].shape[0] // 4, 0.0, []
    for row in np.flatnonzero(~np.array(plan["half"], bool)):
        source = plan["source"][row]
        end = None if passed[row] else quarter
        apart = np.abs(pictures[row, :end].astype(int) - shown[source][:end]).mean()
        worst = max(worst, float(apart))
        if item.still:
            worst = max(worst, float(np.abs(pictures[row][item.still].astype(int) - shown[source][item.still]).mean()))
        number = number_of(pictures[row].transpose(2, 0, 1)) - item.target.hidden
        if item.stamped and number != source:
            wrong.append((int(row), source, number))
    outcome.figures["levels_apart"] = round(worst, 2)
    if wrong:
        outcome.faults.append(f"{len(wrong)} rows show another frame than planned; (row, planned, shown): {wrong[:4]}")
    if worst > item.levels:
        outcome.faults.append(f"the picture is {worst:.1f} levels from what the target shows, more than {item.levels}")


def _check_colours(outcome: Outcome, made, target: Path) -> None:
    """The target's colour tags, where it has them; nothing left unsaid."""
    from video.probe import probe

    want = probe(target).colour.resolved(made.width, made.height)
    got = made.colour
    if want.matrix and (got.matrix, got.primaries, got.transfer, got.range) != (
        want.matrix,
        want.primaries,
        want.transfer,
        want.range,
    ):
        outcome.faults.append(f"colour tags {got}, not {want}")
    if outcome.item.tags and (got.matrix, got.primaries, got.transfer, got.range) != outcome.item.tags:
        outcome.faults.append(f"colour tags {got}, not {outcome.item.tags}")


def check_sound(outcome: Outcome, out: Path, made, speech: Path) -> None:
    """The whole speech, beginning with the first frame."""
    from audio.load import load_speech, load_track

    start_s = float(made.audio_start_s) if made.has_audio else None
    outcome.figures["sound_start_ms"] = None if start_s is None else round(1000 * start_s, 2)
    if start_s is None or abs(start_s) > SOUND_S:
        return outcome.faults.append(f"the sound starts at {start_s} s")
    given, heard = load_speech(speech), load_track(out)
    if abs(float(given.duration_s - heard.duration_s)) > float(1 / outcome.item.rate) + 0.03:
        outcome.faults.append(
            f"the sound lasts {float(heard.duration_s):.3f} s, the speech {float(given.duration_s):.3f} s"
        )
    a, b = given.samples.numpy().astype(float), heard.samples.numpy().astype(float)
    n = min(len(a), len(b), 16000 * 60)
    if n < 400 or np.abs(a).max() < 1e-2:
        return None
    size = 1 << (2 * n - 1).bit_length()
    match = np.fft.irfft(np.fft.rfft(b[:n], size) * np.conj(np.fft.rfft(a[:n], size)), size)
    lag = int(match.argmax())
    lag_s = (lag - size if lag > size // 2 else lag) / 16000
    alike = match.max() / max(np.linalg.norm(a[:n]) * np.linalg.norm(b[:n]), 1e-9)
    outcome.figures |= {"sound_lag_ms": round(1000 * lag_s, 2), "sound_r": round(float(alike), 3)}
    if abs(lag_s) > SOUND_S or alike < 0.8:
        outcome.faults.append(f"the sound is {1000 * lag_s:.1f} ms late and {alike:.2f} alike")


@cache
def _said(speech: Path) -> np.ndarray:
    """(F,) mouth opening at 100 a second that the bundled model hears in the speech."""
    from audio.load import load_speech
    from lipsync.core.lips import opening
    from lipsync.speech.lip_model import LipModel

    return opening(LipModel.load(PRIOR).predict(load_speech(speech)).points)


def _check_mouth(outcome: Outcome, pictures: np.ndarray, made, speech: Path) -> None:
    """The mouth found again in the output opens when the model says so."""
    from lipsync.config.schema import FaceConfig
    from lipsync.evaluation.evaluate import own_opening
    from lipsync.face.track import FaceTracker

    tracker = FaceTracker(FaceConfig(min_eye_distance_px=8, **outcome.item.face), made.width, made.height)
    for rgb in pictures:
        tracker.push(rgb)
    track = tracker.finish(made.clock)
    seen, (gap, _) = track.valid, own_opening(track)
    said = _said(speech)
    moments = made.clock.seconds[seen]

    def alike(lag_s: float) -> float:
        return float(np.corrcoef(gap[seen], np.interp(moments - lag_s, np.arange(len(said)) / 100, said))[0, 1])

    scores = np.array([alike(lag) for lag in LAGS_S])
    lag_s, best = float(LAGS_S[scores.argmax()]), float(scores.max())
    outcome.figures |= {
        "mouth_lag_ms": round(1000 * lag_s),
        "mouth_r": round(best, 3),
        "mouth_r_at_0": round(alike(0.0), 3),
    }
    if best < FOLLOWS_R or abs(lag_s) > MOUTH_S:
        outcome.faults.append(f"the mouth follows with r {best:.2f} at {1000 * lag_s:.0f} ms")
