"""FSGAN's reenactment: landmarks as heatmaps, which sources are learnt from, what may be seen, the mask and the
completion, and that it learns."""

import dataclasses

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.geometry import mouth_space
from lipsync.core.texture import TextureQuery
from lipsync.learning.losses import Losses
from lipsync.learning.textures import Examples
from lipsync.textures import get_method
from lipsync.textures.augmentation import covered
from lipsync.textures.methods.fsgan import _HELD, gap_of, held
from lipsync.textures.nets import heatmaps, lip_parts, lower_face, near_lips, resized
from lipsync.textures.translation import ResUNet
from tests.support.drawn import draw, drawn_subject, lips_open

GAPS = 0.06 + 0.06 * np.sin(np.arange(80) / 3.0)
SMALL = {"width": 64, "channels": 8, "completion_channels": 8, "discriminator_channels": 4, "levels": 2, "blocks": 1}


class Plain(Losses):
    """Without a perceptual network: these tests are of the method."""

    features = staticmethod(Losses.l1)


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS, 40.0)


def small(subject, **changes):
    method = get_method("fsgan", DubConfig())
    method.config = dataclasses.replace(method.config, **SMALL | changes)
    method.begin(subject, "cpu").nets.eval()
    return method


def trained(subject, steps, terms=None, **changes):
    """The method after so many turns of all its players; `terms` takes up the losses of every step."""
    torch.manual_seed(0)
    method = small(subject, steps=steps, **changes)
    examples = Examples(subject.bank, None, torch.device("cpu"), torch.Generator().manual_seed(0))
    objectives = [(o, torch.optim.Adam(o.net.parameters(), o.rate, o.betas)) for o in method.objectives(Plain())]
    method.nets.train()
    for _ in range(steps):
        batch = examples.draw(4)
        for objective, optimiser in objectives:
            lost = objective.loss(batch)
            optimiser.zero_grad()
            sum(lost.values()).backward()
            optimiser.step()
            if terms is not None:
                terms.setdefault(objective.name, []).append({k: float(v.detach()) for k, v in lost.items()})
    method.nets.eval()
    return method


@pytest.fixture(scope="module")
def learnt(subject):
    return trained(subject, 220, rate=4e-3, segmentation=1.0, covered=0.5, stepwise=0.0)


def query_of(subject, rows, other):
    """Wanted rows in frames whose own mouths are those of `other` rows."""
    truth, own = (torch.from_numpy(subject.bank.take(r)).float() / 255 for r in (rows, other))
    crop = truth + lower_face(subject.bank.space) * (own - truth)
    return TextureQuery(torch.from_numpy(subject.bank.lips[rows]), torch.zeros(len(rows), 3), crop), truth


def test_a_heatmap_is_a_gaussian_at_its_landmark(subject):
    space = subject.bank.space
    size = (space.height, space.width)
    at = torch.tensor([[[(20 + 0.5) / space.scale + space.left, (11 + 0.5) / space.scale + space.top]]])
    found = heatmaps(at, space, size, 2 / space.scale)[0, 0]  # two pixels wide, at the middle of row 11, column 20
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    wanted = torch.exp(-((rows - 11.0) ** 2 + (columns - 20.0) ** 2) / 8)
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("gap", [0.05, 0.12])
def test_what_a_pixel_of_the_lips_shows(gap):
    """As a picture drawn by polygons has it, but for some of the polygons' edges."""
    space = mouth_space(150.0)
    colours = [0, 120, 240]
    drawn = draw(lips_open(gap), space, *((colour,) * 3 for colour in colours))[0]
    parts = lip_parts(torch.from_numpy(lips_open(gap))[None], space, (space.height, space.width))[0].numpy()
    assert [
        ((parts == part) & (drawn == colour)).sum() > 0.97 * (drawn == colour).sum()
        for part, colour in enumerate(colours)
    ] == [True] * 3


def test_the_generator_answers_at_both_sizes():
    net = ResUNet(3, 5, 4, 2, 8, levels=2, blocks=1)
    picture, maps = torch.rand(2, 3, 24, 32), torch.rand(2, 5, 12, 16)
    drawn, parts = net(picture, maps)
    assert drawn.shape == (2, 4, 24, 32) and parts.shape == (2, 2, 12, 16)
    assert not torch.equal(net(picture, maps.flip(3))[0], drawn), "the landmarks must be seen"
    assert not torch.equal(net(picture.flip(3), maps)[0], drawn), "the source must be seen"


def test_sources_are_no_neighbours_in_time(subject):
    cut = dataclasses.replace(subject, bank=dataclasses.replace(subject.bank, shot=(np.arange(80) >= 60).astype(int)))
    torch.manual_seed(0)
    method, rows = small(cut), torch.full((300,), 55)
    found = method.sources(rows).numpy()
    assert not ((np.abs(found - 55) < 13) & (found < 60)).any() and (found >= 60).any() and (found < 43).any()
    unlike = np.abs(method.views.places[found] - method.views.places[55]).sum(1)
    nearest = np.sort(np.abs(method.views.places - method.views.places[55]).sum(1)[np.r_[0:43, 60:80]])[3]
    assert (unlike[150:] <= nearest + 1e-6).all() and (unlike[:150] <= nearest + 1e-6).mean() < 0.3, (
        "any, then near ones"
    )


def test_the_mouth_that_was_there_is_not_drawn(subject):
    """Whatever the frame's own mouth is, the picture is the same; around the mouth the frame stays as filmed."""
    method = small(subject)
    query, _ = query_of(subject, np.array([5, 30]), np.array([40, 70]))
    region = lower_face(subject.bank.space)
    other = dataclasses.replace(query, crop=torch.where(region > 0, torch.rand(query.crop.shape), query.crop))
    first, second = (method.render(q).rgb for q in (query, other))
    inside, still = ((region >= 0.5).expand_as(first), (region == 0).expand_as(first))
    assert torch.equal(first[inside], second[inside]) and torch.equal(first[still], query.crop[still])
    own = small(subject, own=1.0)
    assert not torch.equal(own.render(query).rgb[inside], own.render(other).rgb[inside]), "here it is the source"


def test_views_are_warped_onto_the_wanted_lips(subject):
    method, rows, others = small(subject), np.array([5, 30]), torch.tensor([[9, 12], [40, 34]])
    query, truth = query_of(subject, rows, rows)
    views = method.warped(query, others, torch.tensor([[1.0, 0.0], [0.25, 0.75]]))
    assert views.row.tolist() == [0, 1, 1] and views.rows.tolist() == [9, 40, 34]
    assert torch.allclose(views.part, torch.tensor([1.0, 0.25, 0.75]))
    unwarped = torch.from_numpy(subject.bank.take(views.rows.numpy())).float() / 255
    error = lambda mouths: (mouths - truth[views.row]).abs().mean((1, 2, 3))
    assert (error(views.mouths) < 0.7 * error(unwarped)).all()


def test_every_network_moves_and_the_segmentation_of_two_steps_counts_ever_more(subject):
    terms: dict = {}
    method = trained(subject, 2, terms)
    fresh = small(subject).nets.state_dict()
    moved = {k for k, v in method.nets.state_dict().items() if not torch.equal(v, fresh[k])}
    assert moved == set(fresh), "every parameter learns"
    assert int(method.nets["reenactment"].get_buffer("steps")) == 2
    wanted = {
        "reenactment": {"perceptual", "pixel", "fools", "parts"},
        "completion": {"completed perceptual", "completed pixel", "completed fools"},
        "discriminators": {"real", "fake"},
    }
    assert {name: set(rows[0]) for name, rows in terms.items()} == wanted
    assert all(np.isfinite(list(row.values())).all() for rows in terms.values() for row in rows)


def test_the_schedule_of_the_segmentation(subject):
    """Nothing at the first of many steps, all at the last: the same pairs cost one cross entropy, then two."""
    found = []
    for before in (0, 10**6 - 1):
        torch.manual_seed(0)
        method = small(subject, steps=10**6, covered=0.0)
        method.nets["reenactment"].get_buffer("steps").fill_(before)
        examples = Examples(subject.bank, None, torch.device("cpu"), torch.Generator().manual_seed(0))
        found.append(float(method.objectives(Plain())[0].loss(examples.draw(4))["parts"].detach()))
    assert found[1] == pytest.approx(2 * found[0], rel=0.1), "untrained, either cross entropy is log 4"
    assert found[0] == pytest.approx(0.1 * np.log(4), rel=0.2)


@pytest.mark.slow
def test_it_learns_to_reenact_mouths_that_say_something_else(subject, learnt):
    """From one source alone, and not the less by copying it."""
    rows = np.arange(3, 80, 11)
    query, truth = query_of(subject, rows, (rows + 9) % 80)
    weight = near_lips(query.lips, subject.bank.space, tuple(truth.shape[2:])) > 0.3
    error = lambda drawn: float((drawn - truth).abs()[weight.expand_as(truth)].mean())
    mouths = torch.from_numpy(subject.bank.take((rows + 9) % 80)).float() / 255
    said = query.lips[torch.from_numpy((np.arange(len(rows)) + 3) % len(rows))]
    with torch.no_grad():
        source = learnt.pasted(query.crop, mouths)
        drawn, mistaken = (learnt.reenact(source, learnt.maps(lips, query.pose))[0] for lips in (query.lips, said))
    drawn, mistaken = (resized(x, truth.shape[2:]) for x in (drawn, mistaken))
    assert error(drawn) < 0.8 * error(query.crop), (error(drawn), error(query.crop))
    assert error(drawn) < 0.8 * error(mistaken), (error(drawn), error(mistaken))


@pytest.mark.slow
def test_alpha_keeps_what_is_held_before_the_mouth(subject, learnt):
    rows = np.arange(5, 75, 10)
    query, truth = query_of(subject, rows, rows[::-1].copy())
    torch.manual_seed(3)
    shape, (crop, _) = covered(query.crop, truth, 1.0)
    free, alpha = learnt.render(query).alpha, learnt.render(dataclasses.replace(query, crop=crop)).alpha
    assert float(free.mean()) > 0.97, "nothing covers the mouth, though it says something else"
    assert float(alpha[shape > 0.9].mean()) < float(alpha[shape < 0.1].mean()) - 0.05


@pytest.mark.slow
def test_the_completion_draws_what_no_source_shows(subject, learnt):
    """An open mouth from closed ones: the inside is not theirs."""
    opened, closed = int(GAPS.argmax()), int(GAPS.argmin())
    query, _ = query_of(subject, np.array([opened]), np.array([closed]))
    inside = learnt._inside(query.lips)
    shown = [
        learnt.shown(torch.ones(1, 1, *learnt.half), inside, gap_of(torch.from_numpy(lips_open(g))[None]), want)
        for g, want in ((0.0, gap_of(query.lips)), (0.1, gap_of(query.lips)), (0.0, gap_of(query.lips) * 0))
    ]
    assert float(shown[0][inside > 0.9].max()) < 0.2 and float(shown[1].min()) == float(shown[2].min()) == 1
    grey = torch.full((1, 3, *learnt.size), 0.9)
    with torch.no_grad():
        made = learnt.completed(grey, 1 - inside, learnt.maps(query.lips, query.pose))
        whole = learnt.completed(grey, torch.ones_like(inside), learnt.maps(query.lips, query.pose))
    assert learnt.completed(grey, torch.ones_like(inside), learnt.maps(query.lips, query.pose)).requires_grad, (
        "a batch without holes is learnt from as well"
    )
    assert torch.equal(whole, grey) and torch.allclose(made[(inside == 0).expand_as(made)], torch.tensor(0.9))
    assert float(made[:, :, inside[0, 0] > 0.9].mean()) < 0.35, "the inside of this mouth is dark"


def test_in_doubt_nothing_is_held_before_the_face():
    logits = torch.zeros(3, 4, 1, 1)
    logits[1, _HELD], logits[2, _HELD] = np.log(3.0), 9.0  # as likely as not; sure
    assert held(logits).flatten().tolist() == pytest.approx([0, 0, 1], abs=0.01)
