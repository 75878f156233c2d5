"""Several processes that train together are one process with all their data; the first one's word counts; a stopped run
goes on exactly."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lipsync.core.errors import LipsyncError
from lipsync.core.objective import Objective
from lipsync.learning import distributed as several
from lipsync.learning.loop import train

STEPS = 12
without_lightning = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="needs Lightning: pip install 'lipsync-dub[train]'"
)


class Stopped(Exception):
    pass


class Line(nn.Module):
    """A network with a buffer of its own, and a part that only some ranks use."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.rare, self.never = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def game(parts, own, seed, generator):
    """A generator's and a critic's turns: each calls both networks. parts: the parts of the batch; own: which of them
    are this process's."""
    torch.manual_seed(seed)
    net, discriminator = Line(), nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    batch = lambda step: torch.cat([rows[step - 1] for rows in (parts[k] for k in own)])

    def generator(step):
        x = batch(step)
        net.seen.copy_(x.mean())
        net.count += 1
        net.made = net.body(x)
        terms = {"fool": (discriminator(net.made) - 1).square().mean(), "line": (net.made - 2 * x).square().mean()}
        if 1 in own:
            terms["rare"] = (net.rare - 1).square().mean() / len(own)
        return terms | {"noise": 0 * torch.rand((), generator=generator)}

    def judge_real(step):
        return {
            "critic": (discriminator(2 * batch(step)) - 1).square().mean()
            + discriminator(net.made.detach()).square().mean()
        }

    objectives = [("net", net, generator), ("critic", discriminator, judge_real)]
    return [Objective(name, n, terms, 0.01, betas=(0.9, 0.999), clip=0.5) for name, n, terms in objectives]


def values(objectives):
    return [v.tolist() for p in objectives for v in p.net.state_dict().values()]


def played(own, seed, ranks=None, keep=None, stop_at=None, errors=None, patience=0):
    """One run; parts of the data are the same for everyone, so that its split is known. errors: what is judged, in
    turn."""
    parts = torch.randn(2, STEPS, 16, 1, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(5 + (ranks.rank if ranks else 0))
    objectives, told = game(parts, own, seed, generator), []
    errors = iter(errors or [1 / step for step in range(1, 2 * STEPS)])

    def tell(step):
        told.append(step)
        if step == stop_at:
            raise Stopped

    outcome = train(
        objectives,
        STEPS,
        generator,
        lambda: next(errors),
        lambda step: step % 4 == 0,
        tell,
        keep,
        -1.0,
        patience,
        ranks,
    )
    return {
        "weights": values(objectives),
        "curve": outcome.curve,
        "told": told,
        "dice": generator.get_state().sum().item(),
    }


def on_a_rank(ranks, folder):
    """Everything that is asked of two ranks, in one start; each writes what it found."""
    found = {"apart": played([ranks.rank], 3 + ranks.rank, ranks)}
    found["tired"] = played(
        [ranks.rank], 3, ranks, errors=[3.0, 4.0, 5.0] if ranks.first else [3.0, 2.0, 1.0], patience=1
    )
    found["whole"] = played([ranks.rank], 3, ranks, folder / "whole")
    shared = ("rank", "first", "n", "mean_gradients", "broadcast", "of_the_first", "gathered")
    with_stop = SimpleNamespace(**{name: getattr(ranks, name) for name in shared})
    steps = []

    def stopping(net):  # on both ranks at the same place, in the middle of step 8
        steps.append(net)
        if len(steps) == 15:
            raise Stopped
        ranks.mean_gradients(net)

    with_stop.mean_gradients = stopping
    with pytest.raises(Stopped):
        played([ranks.rank], 3, with_stop, folder / "stopped")
    found["resumed"] = played([ranks.rank], 8, ranks, folder / "stopped")
    (folder / f"{ranks.rank}.json").write_text(json.dumps(found))
    return f"rank {ranks.rank} of {ranks.n}"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    assert several.launch(2, on_a_rank, folder, accelerator="cpu") == "rank 0 of 2"
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def near(a, b):
    return all(
        torch.allclose(torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64), atol=2e-5)
        for x, y in zip(a, b, strict=True)
    )


@without_lightning
def test_two_ranks_are_one_process_with_both_parts_of_the_batch(two):
    _, (first, second) = two
    assert first["apart"]["weights"] == second["apart"]["weights"], "also where the ranks started with other weights"
    alone = played([0, 1], 3)["weights"]
    seen = 3  # the buffer is the first rank's, as in DistributedDataParallel
    ours, theirs = (w[:2] + w[seen:] for w in (first["apart"]["weights"], alone))
    assert near(ours, theirs)
    assert not near(played([0], 3)["weights"], alone), "the parts must differ, else nothing is shown"
    assert first["apart"]["weights"][0] != [0.0] and first["apart"]["weights"][1] == [1.0]


@without_lightning
def test_only_the_first_rank_judges_and_tells(two):
    _, (first, second) = two
    assert first["apart"]["told"] == list(range(1, STEPS + 1)) and second["apart"]["told"] == []
    for found in (first, second):
        assert [row[0] for row in found["tired"]["curve"]] == [4, 8] and [
            row[2] for row in found["tired"]["curve"]
        ] == [3.0, 4.0]


@without_lightning
def test_stopped_and_resumed_it_is_as_if_never_stopped(two):
    folder, found = two
    for rank in found:
        for key in ("weights", "dice"):
            assert rank["resumed"][key] == rank["whole"][key]
        assert rank["resumed"]["told"] in ([], [8, 9, 10, 11, 12])
    assert found[0]["whole"]["dice"] != found[1]["whole"]["dice"], "each rank has dice of its own"
    assert {path.name for path in folder.iterdir()} == {"whole", "stopped", "0.json", "1.json"}


def test_without_lightning_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(several.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LipsyncError, match=r"pip install 'lipsync-dub\[train\]'"):
        several.launch(2, on_a_rank, None)


@without_lightning
def test_more_devices_than_there_are():
    with pytest.raises(LipsyncError, match="this machine has"):
        several.launch(99, on_a_rank, None, accelerator="cuda")
