"""What holds for all clocks, moves, retimings, configurations and keys, not for chosen ones only."""

from __future__ import annotations

import json
import string
import tomllib
import typing
from dataclasses import asdict, fields, is_dataclass, replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lipsync.batch.run import valid_receipt
from lipsync.batch.storage.store import OutputStore
from lipsync.config.load import from_plain, load, to_plain, to_toml
from lipsync.config.schema import DubConfig, RetimeConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.geometry import apply, similarity_fit, warp, warp_frame
from lipsync.core.timebase import (
    NOMINAL_RATES,
    feature_position,
    lips_at,
    nominal_rate,
    output_clock,
    shot_at_features,
    to_feature_clock,
    voiced_at,
)
from lipsync.core.types import LipTrack
from lipsync.render.retime import costs_of, played, retime
from lipsync.store.cache import step_key
from lipsync.store.receipt import Receipt
from tests.fuzz.seeds import make_receipt, receipt_job
from tests.support.retiming import SMALL, check_promises, cost_of_path
from video.clock import FrameClock

settings.register_profile(
    "ours", deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("ours")

rates = st.sampled_from(NOMINAL_RATES) | st.fractions(Fraction(1, 2), 240, max_denominator=1001)
bases = st.sampled_from(
    [Fraction(1, n) for n in (1000, 12800, 15360, 90000, 25, 24000, 600, 44100)] + [Fraction(1001, 30000)]
)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def clocks(draw, most: int = 60) -> FrameClock:
    """Frames at any times on any base, beginning anywhere."""
    steps = draw(
        st.lists(
            draw(st.sampled_from([st.integers(1, 5000), st.sampled_from([5, 10, 15, 40])])), min_size=1, max_size=most
        )
    )
    first = draw(st.integers(-(10**6), 10**9))
    pts = first + np.concatenate([[0], np.cumsum(steps[:-1])]).astype(np.int64)
    return FrameClock(pts, draw(bases), int(pts[-1]) + steps[-1])


# Clocks


@given(clocks())
def test_features_fall_where_fractions_say(clock):
    whole, part = feature_position(clock)
    for pts, feature, rest in zip(clock.pts.tolist(), whole.tolist(), part.tolist(), strict=True):
        exact = (pts - int(clock.pts[0])) * clock.base * 100
        assert feature == exact.numerator // exact.denominator and abs(feature + rest - exact) < 1e-9 * max(1, exact)
    assert whole[0] == 0 and (np.diff(whole + part) > 0).all() and (part >= 0).all() and (part < 1).all()


@given(st.fractions(Fraction(1, 100), 8 * 3600, max_denominator=48000), rates, bases)
def test_the_output_has_exactly_the_frames_of_the_speech(duration_s, rate, base):
    like = FrameClock.constant(10, rate)
    clock = output_clock(duration_s, like)
    assert len(clock) == max(1, round(duration_s * rate))
    assert clock.rate == rate and clock.pts[0] == 0
    assert len(clock) == 1 or abs(clock.duration_s - duration_s) <= 1 / rate / 2


@given(rates.filter(lambda rate: rate >= 5), st.integers(10**5, 10**6))
def test_hours_do_not_drift(rate, n):
    clock = FrameClock.constant(n, rate)
    whole, part = feature_position(clock)
    for i in (n - 1, n // 2, n // 3):
        exact = Fraction(i * 100) / rate
        assert whole[i] == exact.numerator // exact.denominator and part[i] == pytest.approx(
            float(exact - int(whole[i])), abs=1e-9
        )
    assert clock.seconds[-1] == pytest.approx(float((n - 1) / rate), rel=1e-12)


@given(st.sampled_from(NOMINAL_RATES), st.sampled_from([1000, 90000, 12800, 600]), st.integers(30, 2000), seeds)
def test_rounded_times_have_the_rate_they_were_rounded_from(rate, per_second, n, seed):
    """Containers with coarse ticks (milliseconds of Matroska) round each time; the true rate is found again."""
    pts = np.array([round(i * per_second / rate) for i in range(n)], np.int64) + seed
    if (np.diff(pts) <= 0).any():
        return
    found = nominal_rate(FrameClock(pts, Fraction(1, per_second), int(pts[-1]) + 1))
    near = [r for r in NOMINAL_RATES if abs((n - 1) / r - (n - 1) / rate) <= Fraction(4, per_second)]
    assert found in near or found == Fraction(per_second, int(pts[1] - pts[0]))


@given(clocks())
def test_a_nominal_rate_is_near_the_mean(clock):
    rate = nominal_rate(clock)
    assert rate > 0
    if len(clock) > 1:
        length_s = int(clock.pts[-1] - clock.pts[0]) * clock.base
        assert abs((len(clock) - 1) / rate - length_s) <= max(
            3 * clock.base, length_s * Fraction(2, 1000)
        ) or rate < Fraction(1, 20)


@given(clocks(), st.integers(1, 300), seeds)
def test_lips_between_features_stay_between_them(clock, n, seed):
    rng = np.random.default_rng(seed)
    track = LipTrack(rng.normal(size=(n, 18, 2)).astype(np.float32), rng.random(n) < 0.8)
    got = lips_at(track, clock)
    whole, part = feature_position(clock)
    assert len(got) == len(clock)
    for i, (a, weight) in enumerate(zip(np.minimum(whole, n - 1), part, strict=True)):
        b = min(whole[i] + (weight > 0), n - 1)
        low, high = np.minimum(track.points[a], track.points[b]), np.maximum(track.points[a], track.points[b])
        assert (got.points[i] >= low - 1e-5).all() and (got.points[i] <= high + 1e-5).all()
        assert got.valid[i] == (track.valid[a] and track.valid[b])


@given(st.sampled_from([Fraction(r) for r in (10, 20, 25, 50, 100)]), st.integers(1, 80), seeds)
def test_frames_on_features_come_back_exactly(rate, n, seed):
    rng = np.random.default_rng(seed)
    lips = LipTrack(rng.normal(size=(n, 18, 2)).astype(np.float32), rng.random(n) < 0.7, FrameClock.constant(n, rate))
    fine = to_feature_clock(lips, 1 + int((n - 1) * 100 / rate))
    back = lips_at(fine, lips.clock)
    assert np.array_equal(back.valid, lips.valid) and np.abs(back.points - lips.points)[lips.valid].max(initial=0) == 0


@given(clocks(), st.integers(1, 200), seeds)
def test_what_is_shown_at_a_feature_was_shown_then(clock, n, seed):
    shot = np.random.default_rng(seed).integers(0, 5, len(clock))
    got = shot_at_features(shot, clock, n)
    starts = [(int(p) - int(clock.pts[0])) * clock.base * 100 for p in clock.pts]
    for feature in range(n):
        assert got[feature] == shot[max(i for i, start in enumerate(starts) if start <= feature)]


@given(clocks(), st.integers(1, 300), seeds)
def test_voice_at_a_frame_is_that_of_its_nearest_feature(clock, n, seed):
    voice = np.random.default_rng(seed).random(n) < 0.5
    for pts, got in zip(clock.pts.tolist(), voiced_at(voice, clock), strict=True):
        exact = (pts - int(clock.pts[0])) * clock.base * 100
        nearest = (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
        assert got == (nearest < n and voice[min(nearest, n - 1)])


# Geometry

numbers = st.floats(-50, 50)
angles, scales = st.floats(-3.1, 3.1), st.floats(0.1, 10)


@st.composite
def similarities(draw) -> np.ndarray:
    factor = draw(scales) * np.exp(1j * draw(angles))
    return np.array(
        [[factor.real, -factor.imag, draw(numbers)], [factor.imag, factor.real, draw(numbers)], [0, 0, 1.0]]
    )


@given(similarities(), similarities(), seeds)
def test_moves_compose_where_inner_names_meet_and_come_back(a_from_b, b_from_c, seed):
    points = np.random.default_rng(seed).normal(0, 10, (7, 2))
    there = apply(a_from_b @ b_from_c, points)
    assert np.allclose(there, apply(a_from_b, apply(b_from_c, points)), atol=1e-6)
    assert np.allclose(apply(np.linalg.inv(a_from_b @ b_from_c), there), points, atol=1e-6)
    assert np.allclose(apply(torch.tensor(a_from_b), torch.tensor(points)).numpy(), apply(a_from_b, points), atol=1e-9)


@given(similarities(), st.integers(2, 12), seeds)
def test_a_fit_finds_the_move_whatever_the_weights(a_from_b, n, seed):
    rng = np.random.default_rng(seed)
    b, weights = rng.normal(0, 5, (n, 2)), rng.uniform(0.01, 1, n)
    assert np.allclose(similarity_fit(apply(a_from_b, b), b, weights), a_from_b, atol=1e-6)


@settings(max_examples=40)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(-5, 5), st.integers(-5, 5), seeds)
def test_warps_by_whole_pixels_are_exact(height, width, dx, dy, seed):
    """dx = dy = 0 is the identity; the pixel (r, c) holds what lay at (r - dy, c - dx), edges repeated."""
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    move = np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])
    want = rgb[np.clip(np.arange(height) - dy, 0, height - 1)][:, np.clip(np.arange(width) - dx, 0, width - 1)]
    assert np.array_equal(warp_frame(rgb, move, height, width), want)
    image = torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255
    got = warp(image, move[None], (height, width))[0].permute(1, 2, 0).numpy()
    assert np.abs(got - want / 255).max() < 1e-4


@settings(max_examples=40)
@given(similarities(), st.integers(6, 30), st.integers(6, 30))
def test_warps_show_each_pixel_what_lies_at_its_centre(out_from_in, height, width):
    """A picture whose value is x + 2y shows, after any move, x + 2y of where each pixel's centre came from (inside; no
    shrinking)."""
    scale = np.sqrt(np.linalg.det(out_from_in[:2, :2]))
    out_from_in = np.diag([max(1, 1 / scale), max(1, 1 / scale), 1]) @ out_from_in  # enlarging only
    y, x = np.mgrid[:40, :50] + 0.5
    image = torch.tensor(x + 2 * y)[None, None].float()
    got = warp(image, out_from_in[None], (height, width))[0, 0].numpy()
    r, c = np.mgrid[:height, :width] + 0.5
    came = apply(np.linalg.inv(out_from_in), np.stack([c, r], -1).reshape(-1, 2)).reshape(height, width, 2)
    inside = (came > 0.6).all(-1) & (came < [49.4, 39.4]).all(-1)
    assert np.abs(got - came @ [1, 2])[inside].max(initial=0) < 0.02


# Retiming


def best_by_trying(n, t, costs):
    """The cheapest cost over all sequences of (frame, half), by trying them row by row."""
    best = {}
    for f, h in product(range(t), (False, True)):
        best[f, h] = cost_of_path([(f, h)], costs)
    for row in range(1, n):
        voiced = np.concatenate([[0], costs.voiced[row:]])  # what this row costs is counted, the one before was
        here = replace(
            costs,
            start=np.zeros(t),
            motion_weight=costs.motion_weight[row - 1 :],
            voiced=voiced,
            jump=costs.jump[row - 1 :],
        )
        best = {b: min(best[a] + (_pair(a, b, here)) for a in best) for b in best}
    return min(best.values())


def _pair(a, b, costs):
    """Cost of the move from state a to b alone; a half-step cannot begin a path, so it is priced as what follows."""
    if not a[1]:
        return cost_of_path([a, b], costs)
    f, (g, half) = a[0], b
    if half or g != f + 1:
        return np.inf
    return costs.motion_weight[1] * costs.motion[g] / 2 + costs.voiced[1] * costs.bad[g]


@settings(max_examples=120)
@given(st.integers(1, 12), st.integers(2, 7), seeds, st.floats(0, 3), st.floats(0, 3), st.sampled_from([12.5, 25, 50]))
def test_the_programme_equals_trying_everything(n, t, seed, seek, repeat, rate):
    rng = np.random.default_rng(seed)
    voiced, shot, valid = rng.random(n) < 0.5, np.cumsum(rng.random(t) < 0.25), rng.random(t) < 0.8
    motion, pose, origin = (
        rng.gamma(1.0, 0.01, t).astype(np.float32),
        rng.normal(0, 5, (t, 3)),
        rng.normal(0, 0.1, (t, 2)),
    )
    config = replace(SMALL, seek=seek, repeat=repeat)
    timing = retime(voiced, motion, valid, shot, rate, config, pose, origin)
    costs = costs_of(voiced, motion, valid, shot, rate, config, pose, origin)
    mine = cost_of_path(list(zip(timing.source.tolist(), timing.half.tolist(), strict=True)), costs)
    assert mine == pytest.approx(best_by_trying(n, t, costs), abs=1e-9)


@settings(max_examples=60)
@given(
    st.integers(1, 300),
    st.integers(1, 120),
    seeds,
    st.sampled_from(["retime", "cut", "loop", "bounce", "hold"]),
    st.sampled_from([10.0, 23.976, 25.0, 120.0]),
)
def test_every_policy_keeps_its_promises(n, t, seed, length, rate):
    rng = np.random.default_rng(seed)
    voiced = np.repeat(rng.random(n // 10 + 1) < 0.6, 10)[:n]
    shot = np.cumsum(rng.random(t) < 0.05)
    valid, motion = rng.random(t) < 0.9, rng.gamma(1.0, 0.01, t).astype(np.float32)
    if length == "retime":
        timing = retime(voiced, motion, valid, shot, rate, RetimeConfig(), rng.normal(0, 3, (t, 3)), None)
    else:
        timing = played(n, shot, length)
    rows = min(n, t) if length == "cut" else n
    assert len(timing) == rows
    assert timing.source.min() >= 0 and timing.source.max() < t and timing.source.dtype == np.int64
    assert (timing.seeks > 0).all() and (timing.seeks < rows).all() and (np.diff(timing.seeks) > 0).all()
    jumped = np.zeros(rows, bool)
    jumped[timing.seeks] = True
    assert (shot[timing.source[1:]] == shot[timing.source[:-1]])[~jumped[1:]].all(), (
        "a cut of the target that is no seek"
    )
    if length == "retime" and t > 1:
        check_promises(timing, shot, n)
    else:
        assert not timing.half.any()
        k = np.arange(rows)
        want = {"cut": k, "hold": np.minimum(k, t - 1), "loop": k % t}.get(
            length, np.abs((k + t - 1) % max(1, 2 * t - 2) - (t - 1))
        )
        assert np.array_equal(timing.source, np.minimum(want, t - 1))


# Configuration

text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=8,
)  # fmt: skip


def values_of(kind, name):
    """Values that an option may have."""
    info = kind.__pydantic_fields__[name]
    pattern = next((m.pattern for m in info.metadata if getattr(m, "pattern", None)), None)
    if pattern:
        return st.from_regex(pattern, fullmatch=True)
    low, high = (next((getattr(m, end) for m in info.metadata if hasattr(m, end)), None) for end in ("ge", "le"))
    return values_of_type(info.annotation, low, high)


def values_of_type(hint, low=None, high=None):
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        some = st.floats(-1e6, 1e6)
        return st.lists(some, max_size=6).map(tuple) if args[1:] == (Ellipsis,) else st.tuples(*(some for _ in args))
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is not None:
        return st.none() | values_of_type(next(a for a in args if a is not type(None)), low, high)
    return {
        bool: st.booleans(),
        int: st.integers(-(10**12) if low is None else low, 10**12 if high is None else high),
        float: st.floats(low, high, allow_nan=False, allow_infinity=False),
        str: text,
    }[hint]


@st.composite
def configs(draw) -> DubConfig:
    """Any values that they may have in some options of some sections."""
    config, hints = DubConfig(), typing.get_type_hints(DubConfig)
    for name in draw(st.lists(st.sampled_from(list(hints)), max_size=6, unique=True)):
        if not is_dataclass(hints[name]):
            config = replace(config, **{name: draw(values_of(DubConfig, name))})
            continue
        keys = st.sampled_from([f.name for f in fields(hints[name])])
        for key in draw(st.lists(keys, max_size=4, unique=True)):
            changed = replace(getattr(config, name), **{key: draw(values_of(hints[name], key))})
            config = replace(config, **{name: changed})
    return config


@settings(max_examples=40)
@given(configs())
def test_a_configuration_survives_being_written(config):
    assert from_plain(tomllib.loads(to_toml(config))) == config
    assert from_plain(to_plain(config)) == config
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config


def raises_only_sentences(act):
    try:
        return act()
    except LipsyncError as trouble:
        assert isinstance(trouble, LipsyncError) and str(trouble).isprintable() and 20 < len(str(trouble)) < 700, str(
            trouble
        )
        return None


@given(plain)
def test_any_plain_values_are_a_configuration_or_a_sentence(tree):
    got = raises_only_sentences(lambda: from_plain(tree))
    assert got is None or got == from_plain(to_plain(got))


names = [
    f"{section}.{f.name}"
    for section, hint in typing.get_type_hints(DubConfig).items()
    if is_dataclass(hint)
    for f in fields(hint)
]


@settings(max_examples=80)
@given(
    st.sampled_from(names) | st.text(string.printable, max_size=30),
    st.text(max_size=30) | st.sampled_from(["1e400", "nan", "[1,", "()", "true,false", "0x1", "1_0"]),
)
def test_any_setting_is_a_configuration_or_a_sentence(name, value):
    raises_only_sentences(lambda: load(settings=[f"{name}={value}"]))


@given(
    st.sampled_from(["", "face.", "write.", "nothing."]),
    st.text(string.ascii_lowercase + "_", min_size=1, max_size=12),
    plain,
)
def test_unknown_names_are_usage_errors(section, name, value):
    full = section + name
    if full in names or name in {f.name for f in fields(DubConfig)}:
        return
    with pytest.raises(UsageError):
        load(named={full: value if value is not None else 1})


@settings(max_examples=60)
@given(st.text(st.characters(), max_size=200))
def test_any_text_is_a_configuration_file_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    raises_only_sentences(lambda: load(path))


# Keys of the cache

parameters = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6,
)  # fmt: skip


steps = st.tuples(text, st.integers(), parameters, st.lists(text, max_size=3))


@given(steps, steps)
def test_keys_are_equal_exactly_where_all_is_equal(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (step_key(*one) == step_key(*other)) == same
    assert step_key(*one) == step_key(*json.loads(json.dumps(one)))
    assert (step_key(*one[:3], one[3]) == step_key(*one[:3], one[3][::-1])) == (one[3] == one[3][::-1]), (
        "inputs are read in order"
    )


@settings(max_examples=50)
@given(configs(), st.sampled_from(names), st.data())
def test_every_option_changes_the_key(config, name, data):
    section, _, key = name.partition(".")
    kept = getattr(config, section)
    value = data.draw(values_of(type(kept), key).filter(lambda value: value != getattr(kept, key)))
    other = replace(config, **{section: replace(kept, **{key: value})})
    assert step_key("s", 1, asdict(config)) != step_key("s", 1, asdict(other))
    assert step_key("s", 1, config) == step_key("s", 1, asdict(config))


# Receipts


@pytest.fixture(scope="module")
def finished_job(tmp_path_factory):
    """(folder with a finished video and its receipt, the job, the receipt's facts)."""
    folder = tmp_path_factory.mktemp("batch") / "out"
    folder.mkdir()
    (receipt,) = make_receipt(folder)
    (folder / "out.mp4").write_bytes(b"sevenby")
    return folder, receipt_job(folder), json.loads(receipt.read_text())


def test_a_finished_job_is_kept(finished_job):
    folder, job, facts = finished_job
    (folder / "out.mp4.json").write_text(json.dumps(facts))
    assert valid_receipt(job, OutputStore(folder)) == Receipt.from_plain(facts)


@given(
    plain | st.sampled_from([0, -1, True, float("nan"), float("inf"), 7]),
    st.sampled_from([None, "id", "output", "notes", "lips"]),
    st.sampled_from([None, "bytes", "frames", "duration_s"]),
)
def test_any_receipt_is_a_finished_job_or_none(finished_job, value, key, inner):
    """Whatever stands in a receipt, a job counts as finished only if what is used of it is what it should be; never an
    exception."""
    folder, job, facts = finished_job
    changed = json.loads(json.dumps(facts))
    if key is None:
        changed = value
    elif key == "output" and inner:
        changed[key][inner] = value
    else:
        changed[key] = value
    (folder / "out.mp4.json").write_text(json.dumps(changed))
    got = valid_receipt(job, OutputStore(folder))
    if got is not None:
        assert got.id == facts["id"] and got.output.bytes == 7 and all(isinstance(note, str) for note in got.notes)
        assert type(got.output.frames) is int and got.output.frames > 0 and 0 < got.output.duration_s < np.inf
