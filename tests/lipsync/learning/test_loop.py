"""The training loop: it finds what can be found, keeps the best, stops when tired, and goes on exactly where it was
stopped."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lipsync.core.errors import LipsyncError
from lipsync.core.objective import Objective
from lipsync.learning.loop import train

STEPS = 60


class Stopped(Exception):
    pass


def a_game(noise: float = 0.3):
    """Noisy samples of a line, a small network with dropout and a decaying rate."""
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(4)
    net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
    x_true = torch.linspace(-1, 1, 50)[:, None]

    def terms(step):
        x = torch.rand(16, 1, generator=generator) * 2 - 1
        error = net(x) - 2 * x - noise * torch.randn(16, 1, generator=generator)
        return {"square": error.square().mean(), "size": 1e-4 * sum(p.square().sum() for p in net.parameters())}

    @torch.no_grad()
    def judge():
        assert not net.training
        return float((net(x_true) - 2 * x_true).square().mean())

    optimiser = torch.optim.AdamW(net.parameters(), 0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.03, total_steps=STEPS)
    return net, Objective("line", net, terms, optimiser=optimiser, schedule=schedule), generator, judge


def run(keep=None, stop_at=None, **options):
    net, objective, generator, judge = a_game()

    def tell(step):
        if step == stop_at:
            raise Stopped

    judged = train(
        [objective], STEPS, generator, judge, lambda step: step % 10 == 0, tell, keep, keep_every_s=-1.0, **options
    )
    return net, judged, judge


def test_it_learns_and_ends_with_the_best_weights():
    net, judged, judge = run()
    assert [row[0] for row in judged.curve] == [10, 20, 30, 40, 50, 60]
    assert judged.best == min(row[2] for row in judged.curve) == judge() < 0.02
    assert judged.curve[0][1] > judged.curve[-1][1] and not net.training


@pytest.mark.parametrize("stop_at", [1, 25, 40, 59])
def test_stopped_and_resumed_it_is_as_if_never_stopped(tmp_path, stop_at):
    through, whole, _ = run()
    keep = tmp_path / "run"
    with pytest.raises(Stopped):
        run(keep, stop_at)
    assert keep.exists() == (stop_at > 1)
    torch.rand(7)
    resumed, judged, _ = run(keep)
    assert judged.curve == whole.curve and list(tmp_path.iterdir()) == [keep]
    for a, b in zip(through.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    again, judged, _ = run(keep, stop_at=STEPS)
    assert judged.curve == whole.curve and torch.equal(next(again.parameters()), next(through.parameters()))


def test_a_file_of_another_run_or_a_damaged_one_is_left_aside(tmp_path):
    keep = tmp_path / "run"
    with pytest.raises(Stopped):
        run(keep, 30)
    junk = keep.read_bytes()[:200]
    keep.write_bytes(junk)
    assert run(keep)[1].curve == run()[1].curve
    keep.unlink()
    with pytest.raises(Stopped):
        run(keep, 30)
    _net, objective, generator, judge = a_game()
    judged = train([objective], STEPS - 20, generator, judge, lambda step: step % 10 == 0, keep=keep)
    assert judged.curve[0][0] == 10 and judged.curve[-1][0] == 40


def test_tired_of_no_progress_it_stops():
    _net, objective, generator, _ = a_game()
    errors = iter([3.0, 2.0, 2.5, 2.4, 2.3, 1.0])
    judged = train([objective], STEPS, generator, lambda: next(errors), lambda step: step % 10 == 0, patience=3)
    assert judged.curve[-1][0] == 50 and judged.best_step == 20


def a_bit_flipped(keep):
    content = bytearray(keep.read_bytes())
    content[-3] ^= 4
    keep.write_bytes(content)


def of_earlier_versions(keep):
    with safe_open(str(keep), "pt") as file:
        tensors, facts = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["facts"]
    save_file(tensors, str(keep), {"facts": facts})


def emptied(keep):
    keep.write_bytes(b"")


def a_folder_instead(keep):
    keep.unlink()
    keep.mkdir()


@pytest.mark.parametrize("damage", [a_bit_flipped, of_earlier_versions, emptied, a_folder_instead])
def test_from_a_damaged_state_it_starts_afresh(tmp_path, damage):
    keep = tmp_path / "run"
    with pytest.raises(Stopped):
        run(keep, 30)
    damage(keep)
    assert run(keep)[1].curve == run()[1].curve


def test_a_state_that_cannot_be_kept_does_not_stop_the_training(tmp_path):
    keep = tmp_path / "gone" / "run"  # another process finished the same training, and removed the folder
    assert run(keep)[1].curve == run()[1].curve and not keep.parent.exists()


def test_where_memory_runs_out_the_step_is_done_again_with_less():
    net = nn.Linear(1, 1)
    held, sizes, steps = [5], [], []

    def loss(step):
        sizes.append(held[0])
        steps.append(step)
        if held[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {"all": net(torch.ones(held[0], 1)).square().mean()}

    def smaller():
        held[0] //= 2
        return held[0] > 0

    judged = train(
        [Objective("net", net, loss)], 3, torch.Generator(), lambda: 0.0, lambda step: False, smaller=smaller
    )
    assert sizes == [5, 2, 2, 2] and steps == [1, 1, 2, 3] and judged.curve[-1][0] == 3
    held[0] = 5
    with pytest.raises(LipsyncError, match="memory"):
        train([Objective("net", net, loss)], 1, torch.Generator(), lambda: 0.0, lambda step: False)
