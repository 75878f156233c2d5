"""People who are seen while somebody else is dubbed, and keep their lips at rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audio.load import RATE, Waveform
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.core.types import LipTrack
from lipsync.pipelines.models import Prepared, texture_for
from lipsync.pipelines.script import Script
from lipsync.render.loop import Role, Scene
from lipsync.render.plan import faces_along, make_plan
from lipsync.speech.predict import speech_embedding
from lipsync.store.cache import Cache
from lipsync.target.analyse import analyse, follow_people, of_person
from lipsync.target.rest import resting_lips


def resting_people(
    target: Path, script: Script, speaker: Prepared, cache: Cache, hook: Hook = silent
) -> tuple[dict[int, Role], list[str]]:
    """Those who say nothing in the script, by number as `face.index` counts, with their own resting lips while others
    speak, and a note for each whose lips cannot be drawn; nobody where `others` is "keep". speaker: one of the same
    film."""
    if script.config.others == "keep" or not script.segments or script.whole:
        return {}, []
    resting, notes = {}, []
    for film in follow_people(target, script.config, cache, hook):
        person, n = film.person, len(script.output_clock)
        if person in script.people or not film.track.valid[:n][script.drawn(person, np.zeros(n, bool))].any():
            continue
        try:
            resting[person] = _resting(target, person, script, speaker, cache, hook)
        except LipsyncError as error:
            notes.append(f"face {person} keeps its mouth: {error}")
    return resting, notes


def _resting(target: Path, person: int, script: Script, speaker: Prepared, cache: Cache, hook: Hook) -> Role:
    config, clock = script.config, script.output_clock
    subject = analyse(target, of_person(config, person), cache, hook)
    method = texture_for(subject, config, cache, speaker.device, hook)
    n, rest = len(clock), resting_lips(subject.films[0], cache)
    lips, nothing = LipTrack(np.tile(rest, (n, 1, 1)), np.ones(n, bool), clock), np.zeros(n, bool)
    plan = make_plan(lips, nothing, subject, config, script.drawn(person, nothing))
    faces = faces_along(subject.track, plan, config.composite.fade_rows)
    silence = Waveform.of(np.zeros(RATE, np.float32))
    embedding = speech_embedding(silence, clock) if "speech" in method.needs else None
    scene = Scene.of(subject.films[0].stream, faces, subject)
    return Role.of(plan, scene, method, config, speech=embedding)
