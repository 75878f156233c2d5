"""The render loop: batches drawn side by side are those drawn one by one, and are looked at in order."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.texture import MouthTexture
from lipsync.core.types import DubPlan, LipTrack
from lipsync.render import loop
from lipsync.render.loop import Role, Scene
from lipsync.render.plan import PlannedFaces, faces_along
from tests.support.drawn import drawn_subject
from video.clock import FrameBatch, FrameClock

ROWS, BATCH = 20, 3


@pytest.fixture
def roles(monkeypatch):
    """One person, twice: the second is drawn over the first. Frames are made; rows 6 to 8 pass through."""
    subject = drawn_subject(np.linspace(0, 0.2, ROWS))
    n, bank = len(subject.bank), subject.bank
    render = np.arange(n) // BATCH != 2
    clock = FrameClock.constant(n, Fraction(25))
    lips = LipTrack(bank.lips, np.ones(n, bool), clock)
    plan = DubPlan(np.arange(n), np.zeros(n, bool), lips, render, clock, np.zeros(0, np.int64))
    y, x = np.mgrid[:240, :300]
    picture = torch.from_numpy(np.stack([100 + 60 * np.sin(x / 40), 120 + 50 * np.cos(y / 30), 90 + 0.3 * x]))

    def frames_along(stream, plan, batch, start, stop, window):
        for first in range(start, stop, batch):
            rows = slice(first, min(first + batch, stop))
            shade = torch.arange(rows.start, rows.stop).view(-1, 1, 1, 1)
            frames = (picture + shade).to(torch.uint8)
            yield rows, frames, FrameBatch(frames, np.arange(rows.start, rows.stop), ())

    monkeypatch.setattr(loop, "frames_along", frames_along)
    stream: Any = SimpleNamespace(width=300, height=240)
    scene = Scene.of(stream, faces_along(subject.track, plan, 0), subject)
    seen: list[tuple[int, slice, int]] = []

    def role(k: int) -> Role:
        def draw(rows: slice, frames: torch.Tensor, faces: PlannedFaces) -> tuple[MouthTexture, np.ndarray]:
            rgb = torch.from_numpy(bank.take(np.arange(rows.start, rows.stop))).float() / 255 * (1 - 0.3 * k)
            jaw = torch.from_numpy(bank.jaw[rows])
            return MouthTexture(rgb, torch.ones_like(rgb[:, :1]), jaw), bank.lips[rows]

        def watch(rows: slice, under: torch.Tensor, over: torch.Tensor, faces: PlannedFaces) -> None:
            seen.append((k, rows, int((under != over).sum())))

        return Role(plan, scene, draw, watch)

    return [role(0), role(1)], seen


def drawn(roles, threads: int) -> torch.Tensor:
    config = DubConfig(batch=BATCH)
    made = list(loop.render(roles, config, torch.device("cpu"), [slice(2, ROWS)], threads=threads))
    assert [row for rows, *_ in made for row in range(rows.start, rows.stop)] == list(range(2, ROWS))
    return torch.cat([frames for _, frames, _ in made])


def test_side_by_side_is_the_same_and_watched_in_order(roles):
    people, seen = roles
    alone = drawn(people, 1)
    watched = list(seen)
    seen.clear()
    assert torch.equal(drawn(people, 3), alone) and seen == watched
    assert all(changed > 0 for *_, changed in watched)
    rows = [(part.start, k) for k, part, _ in watched]
    assert rows == sorted(rows) and {k for _, k in rows} == {0, 1}


def test_rows_that_pass_through_are_the_decoded_ones(roles):
    people, seen = roles
    made = list(loop.render(people, DubConfig(batch=BATCH), torch.device("cpu"), [slice(0, ROWS)], threads=2))
    rows, frames, beneath = made[2]
    assert rows == slice(6, 9) and frames.data_ptr() == beneath.rgb.data_ptr()
    assert not any(part == rows for _, part, _ in seen)


def test_batches_of_large_pictures_are_smaller(monkeypatch, roles):
    monkeypatch.setattr(loop, "_MOST_PIXELS", 2 * 300 * 240 + 1)
    made = list(loop.render(roles[0], DubConfig(batch=BATCH), torch.device("cpu"), [slice(0, 7)], threads=2))
    assert [len(frames) for _, frames, _ in made] == [2, 2, 2, 1]
