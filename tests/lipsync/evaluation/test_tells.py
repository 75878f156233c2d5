"""The tells: each measure finds what was constructed; an audit says one right sentence of any file."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from typer.testing import CliRunner

from lipsync.cli.app import app
from lipsync.evaluation import tell_judge, tell_lips
from lipsync.evaluation.tell_judge import KINDS, edge_step
from lipsync.evaluation.tell_lips import Heard, Shown
from lipsync.evaluation.tell_pictures import ECHO_SHAPE, INSIDE_SHAPE, LAGS, SECTORS, Pictures, Window, _Patch, ovals
from lipsync.evaluation.tells import Audit, Moment, Tell
from tests.support import SAMPLES
from tests.support.video_clips import write_clip

N = 600
LOOK = {kind.name: kind.look for kind in KINDS}


def curves(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Opening and width of lips that speak, 100 a second."""
    rng = np.random.default_rng(seed)
    opening, width = gaussian_filter1d(rng.normal(size=(2, N + 200)), 6, axis=1) * 3
    return np.abs(opening) * 0.1, 0.8 + 0.05 * width


def spoken(lag: int = 0) -> tuple[Shown, Heard]:
    """Lips, and the sound of the same lips, `lag` rows late."""
    opening, width = curves()
    rows, later = slice(100, 100 + N), slice(100 - lag, 100 - lag + N)
    seen = np.ones(N, bool)
    return Shown(opening[rows], width[rows], seen), Heard(opening[later], width[later], seen)


@pytest.mark.parametrize("lag", [-58, -13, 0, 7, 40])
def test_the_lag_of_the_sound_is_found(lag):
    [(stretch, sure)] = tell_lips.offsets(*spoken(lag))
    assert stretch.value == lag / 100 and sure > 0.3


def test_lips_that_say_something_else_give_no_lag():
    shown, _ = spoken()
    opening, width = curves(seed=1)
    heard = Heard(opening[:N], width[:N], np.ones(N, bool))
    assert all(sure < 0.3 for _, sure in tell_lips.offsets(shown, heard))


def in_silence(opening: np.ndarray) -> list[tell_lips.Stretch]:
    """What is told of lips that open so in a silence from 2.0 to 3.5 s."""
    shown, heard = spoken()
    voice = heard.voice.copy()
    voice[200:350] = False
    return tell_lips.silent_movement(replace(shown, opening=opening), replace(heard, voice=voice))


def test_a_mouth_that_moves_in_silence():
    moving = in_silence(spoken()[0].opening)
    assert [(s.first, s.after) for s in moving] == [(215, 315)] and moving[0].value > LOOK["silence"]


@pytest.mark.parametrize("what", ["smack", "breath", "pressed", "step"])
def test_lips_that_breathe_smack_or_press_do_not_talk(what):
    still = spoken()[0].opening.copy()
    still[190:360] = 0.02
    rows = {"smack": slice(250, 256), "breath": slice(230, 300), "pressed": slice(220, 360), "step": slice(265, 360)}
    still[rows[what]] = 0.0 if what == "pressed" else 0.15
    [resting] = in_silence(still)
    assert resting.value < LOOK["silence"] / 2


def test_to_and_fro_is_the_least_of_three_swings():
    def curve(*turns: float) -> np.ndarray:
        return np.concatenate([np.linspace(a, b, 10)[:-1] for a, b in itertools.pairwise(turns)])

    assert tell_lips.to_and_fro(curve(0, 1, 0)) == 0
    assert tell_lips.to_and_fro(curve(0, 1, 0, 1, 0)) == pytest.approx(1, abs=0.12)
    assert tell_lips.to_and_fro(curve(0, 1, 0.9, 2, 0)) == pytest.approx(0.1, abs=0.03)
    assert tell_lips.to_and_fro(np.ones(50)) == 0


def test_a_lag_at_the_end_of_the_search_and_little_speech_are_not_sure():
    shown, heard = spoken(60)
    [(stretch, sure)] = tell_lips.offsets(shown, heard)
    assert stretch.value == 0.6 and sure == 0
    voice = np.zeros(N, bool)
    voice[100:220] = True
    assert tell_lips.offsets(shown, replace(heard, voice=voice)) == []


def test_a_still_mouth_in_speech_is_where_it_stands_still():
    shown, heard = spoken()
    opening = shown.opening.copy()
    opening[200:400] = opening[200]
    found = tell_lips.still_speech(replace(shown, opening=opening), heard)
    still = [s for s in found if s.value < 0.4]
    assert still and all(s.first >= 150 and s.after <= 450 for s in still)
    assert all(s.value > 0.9 for s in tell_lips.still_speech(shown, heard))


def test_closures_that_do_not_come():
    shown, heard = spoken()
    said = np.full(N, 0.15)
    for at in (100, 200, 300, 400):
        said[at : at + 6] = 0.0
    heard, seen = replace(heard, opening=said), said.copy()
    seen[195:210], seen[500:560] = 0.15, 0.0
    found = tell_lips.closures(replace(shown, opening=seen), heard)
    assert [round(s.value, 2) for s in found] == [0.0, 0.15, 0.0, 0.0]


def test_closures_are_told_where_many_are_asked_for_and_hardly_any_comes():
    asked = [tell_lips.Stretch(10 * k, 10 * k + 5, 0.1) for k in range(8)]
    assert tell_judge._missed(asked[:5], 6) is None
    met = [replace(one, value=0.0) for one in asked[:3]]
    assert max(v for *_, v in tell_judge._missed([*met, *asked[3:]], 6) or []) < LOOK["closures"]
    assert max(v for *_, v in tell_judge._missed(asked, 6) or []) == 1.0


def steps_of(at: int, step: tuple[float, float, float], sectors: int = SECTORS) -> np.ndarray:
    steps = np.random.default_rng(0).normal(0, 0.5, (len(ovals()), SECTORS, 3))
    steps[at, :sectors] += step
    return steps


def test_a_step_all_around_is_an_edge_and_one_to_a_side_is_none():
    wide = next(k for k, (w, h) in enumerate(ovals()) if w > 0.43 and h > 0.3)
    assert 12 < edge_step(steps_of(wide, (10, 10, 10))) < 18
    assert edge_step(steps_of(wide, (10, 10, 10), sectors=SECTORS // 2)) < 3
    assert edge_step(steps_of(0, (30, 0, 0))) < 3  # on the lips


def test_a_fault_that_another_explains_is_not_told():
    fault, found = [(1.0, 2.0, 9.0), (3.0, 4.0, 0.1)], [(0.0, 1.0, 5.0), (1.5, 2.5, 5.0), (3.0, 4.0, 5.0)]
    assert tell_judge._apart(found, fault, 1.0) == [found[0], found[2]]
    assert tell_judge._apart(found[1:2], fault, 1.0) is None


def seen_with(**arrays: np.ndarray) -> tell_judge.Seen:
    """Four seconds of a person, of whom only `arrays` are measured."""
    from lipsync.core.types import FaceTrack, LipTrack
    from video.clock import FrameClock

    n, clock = 100, FrameClock.constant(100, Fraction(25))
    shapes = {"sharpness": (2,), "level": (2,), "inner": (3,), "under": (2,), "unlike": (2,), "inside": INSIDE_SHAPE}
    blank = {name: np.full((n, *shape), np.nan, np.float32) for name, shape in shapes.items()}
    steps, starts = np.full((8, len(ovals()), SECTORS, 3), np.nan, np.float16), np.arange(0, 101, 100 // 8)[:9]
    lips = np.zeros((n, 18, 2), np.float32)
    lips[:, 15:18, 1] = 0.05 + 0.04 * np.sin(np.arange(n))[:, None]
    track = FaceTrack(
        pixel_from_face=np.tile(np.eye(3), (n, 1, 1)),
        landmarks=np.zeros((n, 68, 2), np.float32),
        lips=LipTrack(lips, np.ones(n, bool), clock),
        pose=np.zeros((n, 3), np.float32),
        eyes=np.zeros(n, np.float32),
        valid=np.ones(n, bool),
        reason=np.zeros(n, np.int8),
        shot=np.zeros(n, np.int32),
    )
    echo = np.full((8, *ECHO_SHAPE), np.nan, np.float32)
    pictures = Pictures(**({"steps": steps, "echo": echo, "starts": starts} | blank | arrays))
    return tell_judge.Seen(track, clock.seconds, 25.0, pictures, np.ones(n, bool))


def test_blur_is_told_as_times_softer_and_when():
    sharp = np.full((100, 2), 0.5, np.float32)
    sharp[50:75, 0] = 0.25
    found = tell_judge.blur(seen_with(sharpness=sharp)) or []
    assert max(found, key=lambda one: one[2]) == pytest.approx((2.0, 3.0, 2 / tell_judge._ALONE_SOFT), abs=0.1)
    assert found[0][2] == pytest.approx(1 / tell_judge._ALONE_SOFT)


def test_a_target_that_is_soft_now_and_then_is_not_blurred():
    sharp = np.full((100, 2), 0.5, np.float32)
    sharp[50:75, 0] = 0.25
    seen = seen_with(sharpness=sharp)
    beside = replace(seen, own=seen.pictures, own_track=seen.track)
    assert max(v for *_, v in tell_judge.blur(beside) or []) == pytest.approx(1.25, abs=0.02)


def test_flicker_is_the_mouths_and_not_the_lights():
    rng = np.random.default_rng(0)
    light = np.repeat(rng.normal(100, 5, (100, 1)), 2, axis=1).astype(np.float32)
    mouth = np.full((100, 2), 100, np.float32)
    mouth[:, 0] += rng.normal(0, 5, 100)
    both = [tell_judge.flicker(seen_with(level=level)) or [] for level in (light, mouth)]
    assert max(v for *_, v in both[0]) < 1.1 and min(v for *_, v in both[1]) > 8


def seen_inside(change: np.ndarray) -> tell_judge.Seen:
    """Lips that open and close over teeth of a spread of 20 grey levels, which change by `change` (T,)."""
    rng = np.random.default_rng(0)
    inside = rng.normal(100, 20, INSIDE_SHAPE) + change[:, None, None] * rng.normal(0, 1, (100, *INSIDE_SHAPE))
    inside[:, :6] = np.nan  # lips
    inside[::3, 6:9] = np.nan  # seen in wide mouths only
    return seen_with(inside=inside.astype(np.float16), inner=np.tile(np.array([8, 9, 20], np.float32), (100, 1)))


def test_teeth_that_stand_still_while_the_lips_move():
    found = tell_judge.teeth(seen_inside(np.repeat([10.0, 1.0], 50))) or []
    assert found[0][2] == pytest.approx(1.0, abs=0.1) and found[-1][2] > LOOK["teeth"]


def test_teeth_are_not_asked_to_change_while_the_lips_are_still_or_in_another_shot():
    seen = seen_inside(np.ones(100))
    points = seen.track.lips.points
    still = replace(seen.track, lips=replace(seen.track.lips, points=np.tile(points[:1], (100, 1, 1))))
    assert tell_judge.teeth(seen) and tell_judge.teeth(replace(seen, track=still)) is None
    opens = np.tile(points[:1], (100, 1, 1))
    opens[50:, 15:18, 1] += 0.1  # between two shots only
    cut = replace(seen.track, lips=replace(seen.track.lips, points=opens), shot=np.repeat([0, 1], 50).astype(np.int32))
    assert tell_judge.teeth(replace(seen, track=cut)) is None


def test_teeth_that_change_while_the_skin_around_the_lips_is_still():
    inner = np.tile(np.array([30, 30 / tell_judge.UNREST, 20], np.float32), (100, 1))
    inner[50:, 1] = 1
    seen = seen_with(inner=inner)
    found = tell_judge.restless(seen) or []
    assert found[0][2] == pytest.approx(1) and found[-1][2] > LOOK["restless"]
    beside = tell_judge.restless(replace(seen, own=seen.pictures, own_track=seen.track)) or []
    assert max(v for *_, v in beside) == pytest.approx(1)  # such are this person's own


def laid_over(rgb: np.ndarray, right: int, down: int) -> np.ndarray:
    return (rgb + np.roll(rgb, (down, right), (0, 1))) / 2


def test_a_face_laid_over_itself_is_seen_twice_and_a_softer_one_is_not():
    rng, window = np.random.default_rng(0), Window.of(60.0)
    patch = _Patch(window)
    faces = gaussian_filter1d(gaussian_filter1d(rng.normal(0, 60, (12, *window.x.shape)), 1, axis=1), 1, axis=2)

    def echo(change) -> np.ndarray:
        return np.mean([patch.echo((change(one) + 120).astype(np.float32)) for one in faces], axis=0)

    usual = echo(lambda one: one)
    blocks = {
        "real": usual,
        "ghost": echo(lambda one: laid_over(one, 2, 4)),
        "soft": echo(lambda one: gaussian_filter1d(gaussian_filter1d(one, 1, axis=0), 1, axis=1)),
    }
    own = seen_with(echo=np.tile(usual.astype(np.float32), (8, 1, 1))).pictures

    def told(name: str) -> float:
        seen = seen_with(echo=np.tile(blocks[name].astype(np.float32), (8, 1, 1)))
        return max(v for *_, v in tell_judge.ghost(replace(seen, own=own)) or [])

    assert told("real") == pytest.approx(0, abs=1e-3)
    assert told("ghost") > 2 * LOOK["ghost"] and told("soft") < LOOK["ghost"]
    more = blocks["ghost"] - usual
    down, right = np.unravel_index(more[3:].argmax(), more[3:].shape)
    assert (LAGS[right] * 60, LAGS[len(LAGS) // 2 + 3 + down] * 60) == pytest.approx((2, 4), abs=0.8)


def test_a_collar_that_follows_the_opening_and_one_that_does_not():
    gap = 0.05 + 0.04 * np.sin(np.arange(100))
    under = np.zeros((100, 2), np.float32)
    under[1:, 0] = 0.3 * np.diff(gap)
    follows = tell_judge.dragged(seen_with(under=under)) or []
    other = under + np.random.default_rng(0).normal(0, 0.1, under.shape).astype(np.float32)
    assert follows[0][2] == pytest.approx(0.3, abs=0.02)
    assert all(v < 0.15 for *_, v in tell_judge.dragged(seen_with(under=other)) or [])


@pytest.mark.parametrize("moves", ["nods", "goes back"])
def test_a_head_that_moves_over_a_collar_that_stays(moves):
    gap = 0.05 + 0.04 * np.sin(np.arange(100))
    place = np.tile(np.diag([100.0, 100.0, 1.0]), (100, 1, 1))
    place[:, :2, 2] = 640, 360
    if moves == "nods":
        place[:, 1, 2] -= 30 * gap
    else:  # up to 1 % farther as the mouth opens, about its chin
        place[:, :2, :2] *= (1 - 0.25 * (gap - 0.05))[:, None, None]
        place[:, 1, 2] += tell_judge.BELOW_CHIN * (100 - place[:, 1, 1])
    chin = place[:, 1, 1] * tell_judge.BELOW_CHIN + place[:, 1, 2]
    under = np.zeros((100, 2), np.float32)
    under[1:, 0] = -np.diff(chin) / place[1:, 1, 1]
    seen = seen_with(under=under)
    found = tell_judge.dragged(replace(seen, track=replace(seen.track, pixel_from_face=place))) or [(0, 0, 9)]
    assert max(v for *_, v in found) < 0.02


def test_torn_is_in_one_place():
    torn, all_over = (np.tile(np.array([2, spread], np.float32), (100, 1)) for spread in (0.15, 0.28))
    for unlike, expected in ((torn, 2.0), (all_over, 0.0)):
        seen = seen_with(unlike=unlike)
        assert (tell_judge.torn(replace(seen, own=seen.pictures)) or [])[0][2] == expected


def test_double_and_torn_lips_are_not_told_without_an_original():
    seen = seen_with(
        unlike=np.tile(np.array([9, 0.1], np.float32), (100, 1)), echo=np.ones((8, *ECHO_SHAPE), np.float32)
    )
    assert tell_judge.torn(seen) is None and tell_judge.ghost(seen) is None


def test_how_widely_lips_are_unlike():
    from lipsync.core.canonical import canonical_68
    from lipsync.core.lips import LIPS_FROM_68
    from lipsync.render.flaws import COLUMNS, ROWS, MouthLook, Straightened, Unlikeness

    lips = canonical_68()[LIPS_FROM_68, :2].astype(np.float32)
    thumb = np.full((ROWS, COLUMNS, 3), 120, np.uint8)
    p = int(Straightened(lips).lips.sum())
    look = MouthLook(
        lips, np.zeros(2 * p), np.zeros((1, 2 * p)), np.full((p, 2), 2, np.float32), 1.0, np.array([0, 0, np.inf]), 2.5
    )
    judge = Unlikeness(look)
    noisy = thumb.copy()
    noisy[..., 0] += np.random.default_rng(0).integers(0, 40, thumb.shape[:2]).astype(np.uint8)
    side = np.where(np.arange(COLUMNS)[:, None] < 30, noisy, thumb)
    assert judge(thumb, lips)[0] < 0.1
    assert judge(noisy, lips)[0] > 2 and judge(side, lips)[0] > 2
    assert judge(side, lips)[1] < tell_judge._NARROW < judge(noisy, lips)[1]


def test_the_table_fits_80_columns_and_the_json_says_the_same():
    moments = tuple(Moment(k + 0.123, k + 1.0, 12345.6789, "face 0") for k in range(5))
    tells = [Tell(k.name, k.title, "bad", 12345.6789, (0, k.look), k.unit, k.wrong, moments) for k in KINDS]
    tells.append(Tell("x", "x", "not measured", None, None, "s", "No face is seen.", ()))
    audit = Audit(tuple(tells), ("face 0", "face 1"), 6.0, ("A limit. " * 30,))
    lines = audit.lines()
    assert max(map(len, lines)) <= 80 and "No face is seen." in lines
    plain = json.loads(json.dumps(audit.as_json()))
    assert plain["version"] == 1 and [t["name"] for t in plain["tells"]] == [k.name for k in KINDS] + ["x"]
    assert plain["tells"][0]["moments"][0] == {"start": 0.123, "end": 1.0, "value": 12345.6789, "person": "face 0"}
    assert lines[0] == f"2 faces in 6 s; tells: {len(KINDS)} bad, 1 not measured"


def run(*words: object):
    return CliRunner().invoke(app, ["audit", "-q", *(str(word) for word in words)])


@pytest.mark.parametrize("n", [1, 8])
def test_a_video_without_a_face_is_said_so(n, tmp_path):
    path = write_clip(tmp_path / "t.mp4", n)
    text = run(path, "--set", f"cache.folder={tmp_path}")
    told = json.loads(run(path, "--json", "--set", f"cache.folder={tmp_path}").stdout)
    assert text.exit_code == 0 and "No face is seen." in text.stdout
    assert {tell["verdict"] for tell in told["tells"]} == {"not measured"} and told["people"] == []


def test_no_video_is_one_sentence(tmp_path):
    (tmp_path / "cut.mp4").write_bytes((SAMPLES / "target.mp4").read_bytes()[:5000])
    for path in (tmp_path / "missing.mp4", tmp_path / "cut.mp4", SAMPLES / "README.md"):
        result = run(path)
        assert result.exit_code == 3 and result.output.count("\n") == 1 and "Traceback" not in result.output


@pytest.mark.slow
def test_planted_faults_raise_their_own_tells(small_target, tmp_path):
    """The presenter as it is, with the sound moved, and with a blurred mouth."""
    from benchmarks.tells import PLANTS, read_clip, sync
    from benchmarks.tells import write_clip as write
    from lipsync.config.schema import CacheConfig, DubConfig
    from lipsync.evaluation.tells import audit
    from lipsync.store.cache import Cache
    from lipsync.target.analyse import follow_face

    config = DubConfig(cache=CacheConfig(folder=str(tmp_path)))
    clip = read_clip("presenter", [(small_target, 0.0, 5.0)])
    real = write(clip, tmp_path / "real.mp4")
    clip.track = follow_face(real, config, Cache(tmp_path)).track
    rng = np.random.default_rng(0)
    made = {"sync": sync(clip, rng, 5), "blur": PLANTS["blur"](clip, rng)}

    def raised(path) -> set[str]:
        told = audit(path, target=real, config=config)
        return {tell.name for tell in told.tells if tell.verdict in ("look", "bad")}

    before = raised(real)
    for name, one in made.items():
        assert name not in before and name in raised(write(one, tmp_path / f"{name}.mp4"))
