"""Speech from typed text, by a synthesiser that is installed: espeak-ng, flite, or say of macOS."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from lipsync.core.errors import LipsyncError, UsageError

#: Longer texts are refused, characters; a synthesiser that takes longer is stopped, seconds.
LONGEST_TEXT, LONGEST_S = 5000, 120
_LIST = {"espeak-ng": ["--voices"], "flite": ["-lv"], "say": ["-v", "?"]}


@functools.cache
def voices() -> tuple[str, ...]:
    """Every voice here as "PROGRAM NAME"; empty: there is no synthesiser."""
    return tuple(f"{program} {name}" for program in _LIST if shutil.which(program) for name in _voices_of(program))


def speak(text: str, voice: str, out: Path) -> None:
    """Writes the text as a WAV file. UsageError: nothing to say, too much, or no such voice; LipsyncError: the program
    failed."""
    text = " ".join(text.split())
    if not text:
        raise UsageError("There is nothing to say. Type a text, or give a sound file.")
    if len(text) > LONGEST_TEXT:
        raise UsageError(f"The text has {len(text)} characters, and at most {LONGEST_TEXT} are spoken. Shorten it.")
    if voice not in voices():
        raise UsageError("Choose a voice for the text.")
    program, name = voice.split(" ", 1)
    # The text goes by a file: it is never taken for an option.
    words = out.with_suffix(".txt")
    words.write_text(text, encoding="utf-8")
    command = {
        "espeak-ng": ["-v", name, "-w", str(out), "-f", str(words)],
        "flite": ["-voice", name, "-f", str(words), "-o", str(out)],
        "say": ["-v", name, "-f", str(words), "-o", str(out), "--data-format=LEI16@22050"],
    }[program]
    try:
        done = subprocess.run([program, *command], capture_output=True, timeout=LONGEST_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise LipsyncError(f"{program} did not finish within {LONGEST_S} s. Shorten the text.") from None
    finally:
        words.unlink(missing_ok=True)
    if done.returncode or not out.is_file():
        raise LipsyncError(f"{program} could not say this text. Try another voice, or give a sound file.")


def _voices_of(program: str) -> list[str]:
    try:
        listed = subprocess.run(
            [program, *_LIST[program]], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    if program == "flite":  # "Voices available: kal awb slt"
        return listed.partition(":")[2].split()
    lines = [line.split() for line in listed.splitlines()[program == "espeak-ng" :]]
    return [fields[1 if program == "espeak-ng" else 0] for fields in lines if len(fields) > 1]
