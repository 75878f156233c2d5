"""The render loop where memory runs out, and where nothing is drawn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.runtime import FittingRows
from lipsync.core.texture import MouthTexture
from lipsync.core.types import DubPlan, LipTrack
from lipsync.render import loop
from lipsync.render.flaws import thumbnail
from lipsync.render.plan import PlannedFaces
from tests.support.drawn import drawn_subject
from video.clock import FrameBatch, FrameClock

N = 11


class Greedy:
    """Draws its target's mouths in white; has memory for `holds` rows at once."""

    name, needs, radius = "greedy", frozenset({"crop"}), 1

    def __init__(self, holds: int) -> None:
        self.holds, self.tried = holds, []
        self.jaw = torch.from_numpy(drawn_subject(np.full(N, 0.05)).bank.jaw)

    def render(self, query):
        n = len(query.lips) - 2
        self.tried.append(n)
        if n > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return MouthTexture(torch.ones_like(query.crop), torch.ones_like(query.crop[:, :1]), self.jaw[:n])


@pytest.fixture
def film(monkeypatch):
    """A plan, a scene and frames of one subject, without a file."""
    subject = drawn_subject(np.full(N, 0.05))
    track, bank = subject.track, subject.bank
    faces = PlannedFaces(track.pixel_from_face, track.lips.points, bank.jaw, track.pose, np.ones(N, np.float32))
    lips = LipTrack(bank.lips, np.ones(N, bool), FrameClock.constant(N, subject.video.clock.rate))
    plan = DubPlan(np.arange(N), np.zeros(N, bool), lips, np.ones(N, bool), lips.frames, np.zeros(0, np.int64))
    frames = torch.arange(N, dtype=torch.uint8)[:, None, None, None].expand(N, 3, 240, 300) + 90

    def along(stream, plan, batch, start, stop, window):
        for first in range(start, stop, batch):
            rows = slice(first, min(first + batch, stop))
            yield rows, frames[rows].clone(), FrameBatch(frames[rows], np.arange(N)[rows])

    monkeypatch.setattr(loop, "frames_along", along)
    return plan, loop.Scene(SimpleNamespace(width=300, height=240), faces, bank.space, subject.teeth), frames


def drawn_by(method, film, watch=None):
    plan, scene, _ = film
    role = loop.Role.of(plan, scene, method, DubConfig(), watch=watch)
    parts = list(loop.render([role], DubConfig(), torch.device("cpu")))
    assert [row for rows, _, _ in parts for row in range(rows.start, rows.stop)] == list(range(N))
    return torch.cat([frames for _, frames, _ in parts])


def test_where_memory_runs_out_rows_are_drawn_in_halves_and_stay_so(film):
    rich, poor = Greedy(100), Greedy(3)
    seen = []
    whole = drawn_by(rich, film)
    assert torch.equal(drawn_by(poor, film, lambda rows, under, drawn, faces: seen.append((rows, under, drawn))), whole)
    assert rich.tried == [8, 3] and poor.tried == [8, 4, 2, 2, 2, 2, 2, 1]
    assert [rows for rows, _, _ in seen] == [slice(0, 8), slice(8, 11)], "each batch is watched once, whole"
    assert torch.equal(torch.cat([drawn for _, _, drawn in seen]), whole)
    assert torch.equal(torch.cat([under for _, under, _ in seen]), film[2])


def test_one_row_too_many_is_told(film):
    with pytest.raises(LipsyncError, match="GPU's memory.*--device cpu"):
        drawn_by(Greedy(0), film)


def test_other_failures_are_not_tried_again():
    calls = []

    def work(part):
        calls.append(part)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        FittingRows(8).each(8, work)
    assert calls == [slice(0, 8)]


def test_frames_without_a_mouth_pass_through_untouched(film):
    plan, scene, frames = film
    scene.faces.strength[:] = 0
    method = Greedy(100)
    assert torch.equal(drawn_by(method, (plan, scene, frames)), frames) and method.tried == []


def test_parts_of_frames_are_drawn_as_whole_ones(film, monkeypatch):
    plan, scene, frames = film
    noise = torch.randint(60, 200, (1, 3, 240, 300), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    frames = (frames // 4 + noise // 2).to(torch.uint8)
    scene.faces.strength[3:6] = 0
    seen = []

    def along(stream, plan, batch, start, stop, window):
        for first in range(start, stop, batch):
            rows = slice(first, min(first + batch, stop))
            x0, y0, x1, y1 = window(rows) if window else (0, 0, 300, 240)
            part = frames[rows, :, y0:y1, x0:x1].contiguous()
            yield rows, part, FrameBatch(part, np.arange(N)[rows], at=(x0, y0))

    def drawn(parts):
        made = frames.clone()
        role = loop.Role.of(
            plan, scene, Greedy(100), DubConfig(), watch=lambda rows, *pictures: seen.append((parts, rows, *pictures))
        )
        for rows, over, beneath in loop.render([role], DubConfig(batch=3), torch.device("cpu"), parts=parts):
            x, y = beneath.at
            made[rows, :, y : y + over.shape[2], x : x + over.shape[3]] = over
        return made

    monkeypatch.setattr(loop, "frames_along", along)
    whole, parts = drawn(False), drawn(True)
    assert torch.equal(whole, parts) and not torch.equal(whole, frames)
    sizes = {tuple(under.shape[2:]) for is_part, _, under, _, _ in seen if is_part}
    assert max(h * w for h, w in sizes) < 240 * 300 * 0.7, "the face takes up a part of the frame"
    for (_, rows, under, over, faces), (_, _, part_under, part_over, part_faces) in zip(
        seen[: len(seen) // 2], seen[len(seen) // 2 :], strict=True
    ):
        for b, place, part_place in zip(
            range(len(under)), faces.pixels_of(rows), part_faces.pixels_of(rows), strict=True
        ):
            for picture, part in ((under, part_under), (over, part_over)):
                thumbs = [
                    thumbnail(p[b].permute(1, 2, 0).numpy(), at) for p, at in ((picture, place), (part, part_place))
                ]
                assert np.abs(np.subtract(*[t.astype(int) for t in thumbs])).max() <= 1
