"""The script of a dub: whether the target keeps its own time, and what is said when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from audio.fit import MOST
from lipsync.config.schema import DubConfig
from lipsync.core.errors import UsageError
from lipsync.core.segments import Segment, checked, is_about_as_long
from lipsync.core.text import faces_seen
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import Utterance, predict_segments, predict_utterance, rows_of
from video.clock import FrameClock


@dataclass(frozen=True, slots=True)
class Script:
    """What is said on which clock. segments: on the target's own; None: all of `speech`, on a clock of its own.
    whole: the segments are one speech for the whole target; clock: of the target; config: with the timeline that
    `auto` stands for; notes: for the user."""

    speech: Path | None
    segments: tuple[Segment, ...] | None
    whole: bool
    clock: FrameClock
    config: DubConfig
    preview_s: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def partly(self) -> bool:
        """Whether only parts of the target are dubbed."""
        return bool(self.segments) and not self.whole

    @property
    def people(self) -> tuple[int | None, ...]:
        """Who speaks; None: the person that the options choose."""
        return tuple(dict.fromkeys(one.person for one in self.segments)) if self.segments else (None,)

    def said_by(self, person: int | None, model: LipModel, *, embed: bool) -> Utterance:
        """What a person says."""
        if self.segments is None:
            if self.speech is None:
                raise UsageError("There is nothing to say. Name a speech.")
            return predict_utterance(self.speech, model, self.clock, self.config, embed=embed, preview_s=self.preview_s)
        own = [one for one in self.segments if one.person == person]
        return predict_segments(own, self.speech, model, self.output_clock, self.config, embed=embed)

    def cast(self, main: int, people: int) -> Script:
        """The same where `main` says the segments that name nobody. people: how many are seen. UsageError, with the
        place, where a segment names nobody of them, or two of one person overlap."""
        named = []
        for one in self.segments or ():
            if one.person is not None and not 0 <= one.person < people:
                raise UsageError(
                    f"{one}: there is no face {one.person}; {faces_seen(people)}. `lipsync people` shows them."
                )
            named.append(replace(one, person=main if one.person is None else one.person))
        return replace(self, segments=checked(named, self.clock.duration_s))

    def drawn(self, person: int | None, spoken: np.ndarray) -> np.ndarray:
        """(N,) bool: rows in which a person's mouth is drawn: where they speak, (N,) bool, and, where the others are to
        rest, while somebody else does."""
        out = spoken.copy()
        if self.config.others == "rest" and self.partly:
            for one in self.segments or ():
                if one.person != person:
                    out[rows_of(one, self.output_clock)] = True
        return out

    @property
    def output_clock(self) -> FrameClock:
        """Of an output that keeps the target's time: the target's own, from 0, up to the end of a preview."""
        clock = self.clock
        pts, end = clock.pts - clock.pts[0], clock.end - int(clock.pts[0])
        if self.preview_s is None or not self.segments:
            return FrameClock(pts, clock.base, end)
        until = self.segments[0].start_s + Fraction(self.preview_s).limit_denominator(1000)
        n = max(1, int(np.searchsorted(pts, round(until / clock.base), "left")))
        return FrameClock(pts[:n], clock.base, end if n == len(pts) else int(pts[n]))


def script_of(
    speech: Path | None,
    speech_s: Fraction,
    clock: FrameClock,
    config: DubConfig,
    segments: Sequence[Segment] = (),
    preview_s: float | None = None,
) -> Script:
    """The script for a target on `clock`. speech_s: how long the speech is. UsageError: options that contradict each
    other, segments that leave the target, a speech longer than a target that keeps its length."""
    length_s, retime = clock.duration_s, config.retime
    if segments:
        if retime.timeline == "retime" or retime.length not in ("auto", "target"):
            raise UsageError(
                "Where only parts of a target are dubbed, it keeps its time and its length: leave out --timeline and "
                "--length."
            )
        known = checked(segments, length_s)
        return Script(speech, known, False, clock, _with(config, "keep"), preview_s)
    if retime.timeline == "retime" and retime.length == "target":
        raise UsageError("--length target keeps the target's time: leave out --timeline retime.")
    about = is_about_as_long(speech_s, length_s)
    keeps = retime.timeline == "keep" or (retime.timeline == "auto" and (about or retime.length == "target"))
    if not keeps or retime.length not in ("auto", "target"):
        return Script(speech, None, False, clock, _with(config, "keep" if keeps else "retime"), preview_s)
    if speech_s > length_s and not about:
        fits = speech_s <= MOST * length_s
        beyond = "" if fits or not config.sound.fit else ": more than the 10 % that --fit takes in"
        raise UsageError(
            f"The speech lasts {float(speech_s):.2f} s, the target {float(length_s):.2f} s{beyond}. Add "
            f"{'--fit to have it sped up, ' if fits else ''}--timeline retime to have the target made longer, or "
            "--length cut, loop, bounce or hold."
        )
    notes = []
    if speech_s > length_s:
        notes.append(
            f"the last {float(speech_s - length_s):.2f} s of the speech lie beyond the end of the picture and are cut; "
            "--timeline retime keeps them"
        )
    whole = (Segment(Fraction(0), length_s),)
    return Script(speech, whole, True, clock, _with(config, "keep"), preview_s, tuple(notes))


def _with(config: DubConfig, timeline: str) -> DubConfig:
    return replace(config, retime=replace(config.retime, timeline=timeline))
