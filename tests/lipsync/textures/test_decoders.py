"""The methods that decode mouths from lips: each learns a drawn subject; the autoencoder's moves and mask, the
variational one's divergence, the codebook, the style."""

import dataclasses

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.config.textures import AutoencoderConfig
from lipsync.learning.losses import Losses
from lipsync.learning.textures import Examples
from lipsync.textures import get_method
from lipsync.textures.augmentation import (
    N_MOVE,
    covered,
    move_lips,
    move_picture,
    move_pose,
    random_affine,
    random_warp,
    sampled,
)
from lipsync.textures.methods.style import Modulated
from lipsync.textures.methods.vq_vae import Codebook
from lipsync.textures.nets import LipNumbers, in_light_of, lower_face, near_lips, resized
from tests.support.drawn import draw, drawn_subject, lips_open

GAPS = 0.06 + 0.06 * np.sin(np.arange(60) / 3.0)
ROWS = np.arange(0, 60, 4)


class Plain(Losses):
    """Without a perceptual network: these tests are of the methods."""

    perceptual = staticmethod(Losses.l1)


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


def examples_of(subject, hears=False):
    spoken = np.random.default_rng(0).normal(0, 0.3, (len(GAPS), 256)).astype(np.float32) if hears else None
    return Examples(subject.bank, spoken, torch.device("cpu"), torch.Generator().manual_seed(0))


def trained(name, subject, steps, **config):
    """The method after a short training, and its losses at the last step."""
    torch.manual_seed(0)
    method = get_method(name, DubConfig())
    method.config = dataclasses.replace(method.config, width=48, **config)
    examples = examples_of(subject, "speech" in method.needs)
    objectives = method.begin(subject, "cpu").objectives(Plain("cpu"))
    optimisers = [torch.optim.Adam(p.net.parameters(), p.rate, betas=p.betas) for p in objectives]
    for _ in range(steps):
        batch = examples.draw(8, method.config.run)
        for objective, optimiser in zip(objectives, optimisers, strict=True):
            terms = objective.loss(batch)
            optimiser.zero_grad()
            sum(terms.values()).backward()
            optimiser.step()
    method.nets.eval()
    return method, {name: float(value.detach()) for name, value in terms.items()}


@pytest.fixture(scope="module")
def made(subject):
    """Trained methods by name, made when first asked for."""
    kept = {}

    def get(name):
        if name not in kept:
            kept[name] = (
                trained(name, subject, 100, moved=0.0)[0]
                if name == "autoencoder"
                else trained(name, subject, 80 if name == "vq-vae" else 60)[0]
            )
        return kept[name]

    return get


def error_at_the_mouth(drawn, truth, lips, subject):
    """Mean absolute difference, of full scale, near the lips."""
    weight = near_lips(lips, subject.bank.space, tuple(truth.shape[2:])) > 0.3
    return float((drawn - truth).abs()[weight.expand_as(truth)].mean())


@pytest.mark.parametrize(
    "name",
    ["autoencoder", "style", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vae", "vq-vae"))],
)
def test_learns_a_drawn_subject(name, subject, made):
    query = examples_of(subject).batch(ROWS, 1, np.random.default_rng(1)).query
    truth = torch.from_numpy(subject.bank.crops[ROWS]).float() / 255
    method = made(name)
    with torch.no_grad():
        drawn = method.draw(query)[0]
    mean = (torch.from_numpy(subject.bank.crops).float().mean(0, keepdim=True) / 255).expand_as(truth)
    truth, mean = (resized(x, method.size) for x in (truth, mean))
    assert error_at_the_mouth(drawn, truth, query.lips, subject) < 0.6 * error_at_the_mouth(
        mean, truth, query.lips, subject
    )


@pytest.mark.parametrize("name", ["autoencoder", "style"])
def test_the_adversarial_game_is_played(name, subject):
    method, terms = trained(name, subject, 2, gan=True)
    assert {"real", "fake"} <= set(terms) and np.isfinite(list(terms.values())).all()
    assert not any("discriminator" in key for key in method.nets.state_dict()), (
        "the discriminator is no part of the weights"
    )


def test_the_frame_around_the_mouth_is_kept(subject, made):
    """Outside the redrawn part a mouth is the frame itself, whatever is there."""
    truth = torch.from_numpy(subject.bank.crops[:2]).float() / 255
    query = examples_of(subject).batch(np.arange(2), 1, np.random.default_rng(1)).query
    drawn = made("style").render(query).rgb
    outside = (lower_face(subject.bank.space) == 0).expand_as(truth)
    assert (drawn - truth).abs()[outside].mean() < 0.01


# --- the autoencoder ---


def test_the_mask_keeps_what_covers_the_mouth(subject, made):
    space, method = subject.bank.space, made("autoencoder")
    query = examples_of(subject).batch(ROWS, 1, np.random.default_rng(1)).query
    open_alpha = method.render(query).alpha
    crop = query.crop.clone()
    top, left = int(0.35 * space.height), int(0.3 * space.width)
    something = (slice(None), slice(None), slice(top, top + space.height // 4), slice(left, left + space.width // 4))
    crop[something] = torch.tensor([0.2, 0.5, 0.9])[:, None, None]
    alpha = method.render(dataclasses.replace(query, crop=crop)).alpha
    region = (lower_face(space) > 0.5).expand_as(alpha)
    assert open_alpha[region].mean() > 0.9, "nothing covers the mouth, though it says something else"
    assert alpha[something].mean() < 0.4
    assert open_alpha[something].mean() - alpha[something].mean() > 0.5


def test_without_speech_and_with_it(subject, made):
    method = made("autoencoder")
    query = examples_of(subject, hears=True).batch(ROWS[:2], 1, np.random.default_rng(1)).query
    heard, silent = method.render(query).rgb, method.render(dataclasses.replace(query, speech=None)).rgb
    assert torch.isfinite(silent).all() and (heard - silent).abs().max() > 0
    assert (heard - silent).abs().mean() < 0.05


def test_no_warp_and_no_move_give_the_picture_back(subject):
    picture = torch.from_numpy(subject.bank.crops[:3]).float() / 255
    assert torch.allclose(sampled(picture, random_warp(3, tuple(picture.shape[2:]), 0.0)), picture, atol=1e-4)
    assert torch.allclose(move_picture(picture, torch.zeros(3, N_MOVE), subject.bank.space), picture, atol=1e-4)


def test_a_warp_moves_no_farther_than_asked():
    size = (48, 64)
    away = (random_warp(20, size, 0.04) - random_warp(1, size, 0.0)) * torch.tensor([32.0, 24.0])
    assert 1 < float(away.abs().max()) < 1.5 * 0.04 * 64


def test_a_flip_twice_changes_nothing(subject):
    flip = torch.tensor([[0.0, 0, 0, 0, 1]])
    space = subject.bank.space
    picture = torch.from_numpy(subject.bank.crops[:1]).float() / 255
    lips, pose = torch.from_numpy(subject.bank.lips[3:4]) + 0.01 * torch.randn(1, 18, 2), torch.tensor([[9.0, 4, -2]])
    assert torch.allclose(move_picture(move_picture(picture, flip, space), flip, space), picture, atol=1e-4)
    assert torch.allclose(move_lips(move_lips(lips, flip), flip), lips, atol=1e-6)
    assert torch.equal(move_pose(pose, flip), torch.tensor([[-9.0, 4, 2]])) and torch.equal(
        move_pose(move_pose(pose, flip), flip), pose
    )


@pytest.mark.parametrize(
    "move", [[0.4, 0, 0, 0, 0], [0, 0.3, 0, 0, 0], [0, 0, 0.1, -0.05, 0], [0, 0, 0, 0, 1], [0.08, -0.08, 0.05, 0.05, 1]]
)
def test_lips_and_picture_move_alike(subject, move):
    """A mouth whose lips were moved, drawn, is the drawn mouth moved."""
    space, move = subject.bank.space, torch.tensor([move])
    lips = torch.from_numpy(lips_open(0.09))[None].clone()
    lips[:, :4, 1] -= 0.05  # one corner higher than the other: a mirror shows
    flat = {"skin": (200, 200, 200), "red": (60, 60, 60)}
    picture = lambda points: torch.from_numpy(draw(points[0].numpy(), space, **flat)[None]).float()
    shade = lambda x: x / torch.linspace(0.9, 1.1, space.width)
    moved, wanted = move_picture(shade(picture(lips)), move, space), shade(picture(move_lips(lips, move)))
    wrong = lambda x: ((x - wanted).abs() > 30).float().mean()
    assert wrong(moved) < 0.3 * wrong(shade(picture(lips)))


def test_moves_are_the_same_within_a_run():
    move = random_affine(40, AutoencoderConfig(moved=0.5), run=2)
    assert torch.equal(move[::2], move[1::2]) and 0 < (move != 0).any(1).float().mean() < 1


def test_a_cover_lies_on_both_pictures():
    torch.manual_seed(0)
    crop, truth = torch.rand(30, 3, 48, 64), torch.rand(30, 3, 48, 64)
    shape, (front_crop, front_truth) = covered(crop, truth, 0.5)
    under, over = (shape == 0).expand_as(crop), (shape == 1).expand_as(crop)
    assert torch.equal(front_crop[under], crop[under]) and torch.equal(front_truth[under], truth[under])
    assert torch.allclose(front_crop[over], front_truth[over])
    assert 5 <= (shape.amax((1, 2, 3)) > 0).sum() <= 25
    assert torch.equal(covered(crop, truth, 0.0)[1][0], crop)


# --- the variational one ---


def test_divergence_of_a_posterior(subject):
    mean, logvar = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, -0.7]])
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, (logvar / 2).exp()), normal(0.0, 1.0)).mean()
    assert torch.allclose(Losses.kl(mean, logvar), wanted, atol=1e-6)
    _, terms = trained("vae", subject, 1, kl=0.0)
    assert terms["kl"] == 0
    _, terms = trained("vae", subject, 1, kl=1.0)
    assert terms["kl"] > 0


def test_drawing_the_mean_has_no_randomness(subject, made):
    query = examples_of(subject).batch(ROWS[:2], 1, np.random.default_rng(1)).query
    method = made("vae")
    state = torch.get_rng_state()
    first = method.render(query).rgb
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(method.render(query).rgb, first)


# --- the codebook ---


def test_the_nearest_code_is_that_of_all_compared():
    torch.manual_seed(0)
    book, x = Codebook(40, 6, 0.9).eval(), torch.randn(2, 6, 5, 7)
    rows = x.movedim(1, -1)
    wanted = (rows[..., None, :] - book.codes).square().sum(-1).argmin(-1)
    codes, numbers, stray = book(x)
    assert torch.equal(numbers, wanted) and torch.allclose(codes.movedim(1, -1), book.codes[wanted], atol=1e-6)
    assert torch.allclose(stray, (rows - book.codes[wanted]).square().mean())


def test_gradients_pass_straight_through_the_codebook():
    book, x = Codebook(16, 4, 0.9).eval(), torch.randn(2, 4, 3, 3, requires_grad=True)
    weight = torch.randn(2, 4, 3, 3)
    (book(x)[0] * weight).sum().backward()
    assert torch.allclose(x.grad, weight)


def test_codes_become_the_middles_of_what_they_stand_for():
    torch.manual_seed(0)
    middles = torch.tensor([[4.0, 0.0], [-4.0, 1.0], [0.0, 5.0]])
    book = Codebook(8, 2, 0.9).train()
    for _ in range(120):
        book((middles[torch.randint(0, 3, (60,))] + 0.05 * torch.randn(60, 2)).T.reshape(1, 2, 6, 10))
    assert torch.cdist(middles, book.codes).amin(1).max() < 0.2
    before = book.codes.clone()
    book.eval()(torch.randn(1, 2, 4, 4))
    assert torch.equal(book.codes, before), "drawing does not move the codes"


def test_expected_codes_of_a_sure_guess_are_the_code():
    book = Codebook(5, 3, 0.9)
    logits = torch.full((1, 5, 2, 2), -50.0)
    logits[:, 3] = 50
    assert torch.allclose(book.expected(logits), book.vectors(torch.full((1, 2, 2), 3)), atol=1e-5)
    even = book.expected(torch.zeros(1, 5, 2, 2))
    assert torch.allclose(even[0, :, 0, 0], book.codes.mean(0), atol=1e-5)


# --- shared blocks ---


def test_a_style_scales_channels_and_not_the_answer():
    torch.manual_seed(0)
    layer, x = Modulated(6, 4, 3), torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        layer.style.weight.zero_()
        once = layer(x, torch.zeros(2, 3))
        layer.style.bias.mul_(7)
        assert torch.allclose(layer(x, torch.zeros(2, 3)), once, atol=1e-4), "demodulation takes the size out"
        layer.style.bias.copy_(torch.tensor([1.0, 0, 0, 0, 0, 0]))
        changed = x.clone()
        changed[:, 1:] = 9
        assert torch.allclose(layer(changed, torch.zeros(2, 3)), layer(x, torch.zeros(2, 3)), atol=1e-4), (
            "channels of scale 0 are silent"
        )


def test_the_light_of_the_frame_is_found():
    torch.manual_seed(0)
    drawn = torch.rand(2, 3, 20, 30)
    gain, offset = torch.tensor([0.7, 1.2, 0.9])[:, None, None], torch.tensor([0.1, -0.1, 0.05])[:, None, None]
    crop, around = drawn * gain + offset, torch.zeros(1, 1, 20, 30)
    around[..., :5] = 1
    crop[..., 10:20] = 0  # the old mouth has no say
    found = in_light_of(drawn, crop, around)
    assert torch.allclose(found, drawn * gain + offset, atol=0.01)


def test_lip_numbers_are_of_unit_size():
    rng = np.random.default_rng(0)
    subject = drawn_subject(rng.uniform(0, 0.12, 80))
    numbers = LipNumbers(subject.bank)
    rows = numbers(torch.from_numpy(subject.bank.lips), torch.from_numpy(subject.bank.pose))
    assert (
        rows.shape == (80, 19)
        and 0.9 < float(rows[:, 0].std()) < 1.1
        and torch.allclose(rows[:, :16].mean(0), torch.zeros(16), atol=1e-3)
    )
    assert rows[:, 1:].abs().max() < 1e-2, "this subject moves in one way only"
