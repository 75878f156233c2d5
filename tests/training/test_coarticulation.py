"""Lips from phones: fitted to lips whose muscles are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, opening
from lipsync.core.types import LipTrack
from training.coarticulation import N_COMPONENTS, UNITS, Coarticulation, _Muscles, units_of
from training.phones import PHONES, Phones


def random_phones(seed: int, names: tuple[str, ...] = PHONES[1:]) -> Phones:
    rng = np.random.default_rng(seed)
    names_in_order = ["pau", *rng.choice(names, 12), "pau"]
    return Phones.of_ends(names_in_order, np.cumsum([0.4, *rng.uniform(0.05, 0.18, 12), 0.4]))


def n_rows(phones: Phones) -> int:
    return int(phones.end_s[-1] * 100)


@pytest.fixture(scope="module")
def known() -> Coarticulation:
    """Muscles of made-up strength; the first component opens the mouth, bilabials shut it."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        muscles = _Muscles().eval()
        with torch.no_grad():
            muscles.shape.normal_(0, 0.04)
            muscles.pull.normal_(0, 0.25)
            muscles.shape[0, 0], muscles.shape[3, 0], muscles.shape[9, 0] = 0.25, -0.12, 0.12
            muscles.pull[0, 3] = 2.0
    directions = np.random.default_rng(0).normal(size=(N_COMPONENTS, 18, 2)) * 0.3
    directions[0] = 0
    directions[0, 6:12, 1] = 1
    directions[0, LOWER_INNER, 1] = 1
    directions[0, UPPER_INNER, 1] = -0.2
    components = np.linalg.qr(directions.reshape(N_COMPONENTS, 36).T)[0].T
    components *= np.sign(opening(components.reshape(-1, 18, 2)))[:, None]
    return Coarticulation(components.reshape(-1, 18, 2).astype(np.float32), muscles)


def track(model: Coarticulation, phones: Phones) -> LipTrack:
    points = model.lips(phones, n_rows(phones))
    return LipTrack(points, np.ones(len(points), bool))


@pytest.fixture(scope="module")
def fitted(known) -> Coarticulation:
    seen = tuple(name for name in PHONES[1:] if name not in ("oy", "zh", "ng"))
    chosen = [random_phones(seed, seen) for seed in range(24)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: threads cost more than they bring
    model = Coarticulation.fit([(phones, track(known, phones)) for phones in chosen], steps=100)
    torch.set_num_threads(threads)
    return model


def errors(model: Coarticulation, known: Coarticulation, sentences: list[Phones]) -> tuple[float, float, float]:
    """Distance as a share of the real distance from rest, correlation and relative spread of the opening."""
    real = np.concatenate([track(known, phones).points for phones in sentences])
    ours = np.concatenate([track(model, phones).points for phones in sentences])
    off = np.linalg.norm(ours - real, axis=-1).mean() / np.linalg.norm(real, axis=-1).mean()
    return off, np.corrcoef(opening(ours), opening(real))[0, 1], opening(ours).std() / opening(real).std()


def test_fit_recovers_known_muscles(fitted, known):
    off, r, articulation = errors(fitted, known, [random_phones(seed) for seed in range(100, 110)])
    assert off < 0.25 and r > 0.96 and 0.9 < articulation < 1.1


def test_sounds_never_seen_follow_their_kind(fitted, known):
    """Made-up lips of oy, zh and ng come from their articulation alone, and are found from other sounds'
    articulation."""
    off, r, _ = errors(fitted, known, [random_phones(seed, ("oy", "zh", "ng", "aa", "t")) for seed in range(200, 206)])
    assert off < 0.35 and r > 0.93


def test_bilabials_close_and_silence_rests(fitted):
    for seed in range(300, 306):
        phones = random_phones(seed, ("aa", "p", "ay", "m", "s", "b", "iy"))
        gap = opening(fitted.lips(phones, n_rows(phones)))
        for name, start, end in zip(phones.name, phones.start_s, phones.end_s, strict=True):
            if name in "pbm":
                assert gap[round((start + end) * 50)] < 0.01
        assert np.abs(fitted.lips(phones, n_rows(phones))[:5]).max() < 0.02


def test_a_closed_bilabial_even_where_muscles_are_weak(known):
    """Between two wide vowels a very short /p/ would not close by dominance alone."""
    phones = Phones.of_ends(["pau", "aa", "p", "aa", "pau"], [0.4, 0.7, 0.715, 1.0, 1.4])
    gap = opening(known.lips(phones, 140))
    assert opening(np.tensordot(known.coefficients(phones, 140), known.components, 1))[71] > 0.02
    assert gap[71] < 0.005 and gap[60] > 0.02 and gap[85] > 0.02


def test_lips_move_before_the_sound(known):
    """Overlapping dominance: the shape before a sound depends on what follows."""
    first = Phones.of_ends(["pau", "t", "aa", "pau"], [0.4, 0.5, 0.8, 1.2])
    second = Phones.of_ends(["pau", "t", "uw", "pau"], [0.4, 0.5, 0.8, 1.2])
    difference = np.abs(known.lips(first, 120) - known.lips(second, 120)).max((1, 2))
    assert difference[47] > 0.1 * difference.max() and difference[10] < 0.02 * difference.max()


def test_long_speech_is_said_in_pieces_without_seams(known):
    phones = [random_phones(seed) for seed in range(8)]
    ends = np.concatenate([p.end_s + sum(q.end_s[-1] for q in phones[:k]) for k, p in enumerate(phones)])
    long = Phones.of_ends([name for p in phones for name in p.name], ends)
    lips = known.lips(long, n_rows(long))
    assert len(lips) > 1000
    unit, start, end = (torch.from_numpy(x)[None] for x in units_of(long))
    whole = known.muscles(torch.arange(len(lips)) / 100, unit, start.float(), end.float())[0].detach().numpy()
    assert np.abs(known.coefficients(long, len(lips)) - whole).max() < 2e-3


def test_units_cover_the_time():
    phones = random_phones(1, ("ay", "b", "ow"))
    unit, start, end = units_of(phones)
    assert (start[1:] == end[:-1]).all() and (end > start).all()
    assert UNITS[unit[0]] == "pau" and UNITS[unit[1]] == "before speech" and UNITS[unit[-2]] == "after speech"


def test_save_and_load(fitted, tmp_path):
    fitted.save(tmp_path / "lips.safetensors")
    again = Coarticulation.load(tmp_path / "lips.safetensors")
    phones = random_phones(9)
    assert np.array_equal(again.lips(phones, 200), fitted.lips(phones, 200))
    assert (tmp_path / "lips.safetensors").stat().st_size < 50_000


def test_what_is_not_a_model_is_refused(tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(LipsyncError, match=r"other.safetensors"):
        Coarticulation.load(tmp_path / "other.safetensors")


def test_no_valid_lips_is_an_error():
    phones = random_phones(1)
    with pytest.raises(LipsyncError, match="valid"):
        Coarticulation.fit([(phones, LipTrack(np.zeros((50, 18, 2), np.float32), np.zeros(50, bool)))])
