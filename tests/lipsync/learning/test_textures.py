"""Training a texture: what reaches it, exact resume of every method, the command, and bad weights, each with one
sentence."""

import dataclasses
import functools
import json
import types

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from lipsync.cli.app import app
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.types import DubPlan, LipTrack
from lipsync.learning import textures as training_module
from lipsync.learning.textures import Examples, train_texture, usual_sharpness
from lipsync.pipelines.models import check_texture, texture_for
from lipsync.render.plan import build_query, faces_along
from lipsync.store.cache import Cache
from lipsync.textures import get_method, texture_names, trainable
from lipsync.textures.nets import blanked, drawn_lips, lower_face
from lipsync.textures.trainable import as_trainable
from tests.support import SAMPLES
from tests.support.drawn import draw, drawn_subject, lips_open

GAPS = 0.06 + 0.06 * np.sin(np.arange(80) / 3.0)
LEARNED = [name for name in texture_names() if as_trainable(get_method(name, DubConfig()))]
OWN = str(SAMPLES / "new_method.py")


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


def small(name, steps=4):
    method = get_method(name, DubConfig())
    method.config = dataclasses.replace(method.config, steps=steps, batch=2, width=64)
    return method


@pytest.mark.parametrize("name", LEARNED)
def test_an_interrupted_training_goes_on_exactly(name, subject, tmp_path, monkeypatch):
    monkeypatch.setattr(training_module.loop, "train", functools.partial(training_module.loop.train, keep_every_s=-1))
    whole, broken, resumed = small(name), small(name), small(name)
    train_texture(whole, subject)

    def stop(step, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_texture(broken, subject, stop, keep=tmp_path / "keep")
    started = []
    train_texture(resumed, subject, lambda step, done, total: started.append(done), keep=tmp_path / "keep")
    assert started[0] == 3, "two of the four steps are not done again"
    for (key, a), b in zip(whole.nets.state_dict().items(), resumed.nets.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_training_and_dubbing_ask_the_same(subject):
    """The bank's rows as the trainer asks, and a dub of the same frames, differ only by how the crop is cut out."""
    import cv2

    track, bank, space = subject.track, subject.bank, subject.bank.space
    rows = np.array([4, 5, 6])
    frames = []
    for row in rows:
        pixel_from_mouth = track.pixel_from_face[row] @ np.linalg.inv(space.mouth_from_face)
        picture = cv2.warpAffine(
            bank.crops[row].transpose(1, 2, 0), pixel_from_mouth[:2], (300, 240), borderMode=cv2.BORDER_REPLICATE
        )
        frames.append(torch.from_numpy(picture.transpose(2, 0, 1)))
    lips = LipTrack(
        track.lips.points[rows],
        np.ones(3, bool),
        dataclasses.replace(track.lips.clock, pts=track.lips.clock.pts[:3], end=track.lips.clock.pts[3]),
    )
    plan = DubPlan(rows, np.zeros(3, bool), lips, np.ones(3, bool), lips.clock, np.zeros(0, int))
    asked = build_query(
        plan,
        faces_along(track, plan, 2),
        space,
        slice(0, 3),
        torch.stack(frames),
        types.SimpleNamespace(radius=0, needs={"crop"}),
    )
    trained = Examples(bank, None, torch.device("cpu"), torch.Generator().manual_seed(0)).batch(rows, 1)
    assert torch.equal(asked.lips, trained.query.lips) and torch.equal(asked.pose, trained.query.pose)
    assert float((asked.crop - trained.truth).abs().mean()) < 2 / 255


def test_the_answer_is_not_in_the_question(subject):
    examples = Examples(subject.bank, None, torch.device("cpu"), torch.Generator().manual_seed(0))
    space, region = subject.bank.space, lower_face(subject.bank.space)
    batch = examples.draw(16)
    outside = (region == 0).expand_as(batch.truth)
    assert torch.equal(batch.query.crop[outside], batch.truth[outside]), (
        "the surroundings are those of the picture to make"
    )
    inside = (region == 1).expand_as(batch.truth)
    moved = (batch.query.crop - batch.truth).abs()[inside].reshape(16, -1).mean(1)
    assert (moved > 0).float().mean() > 0.8, "the mouth is another one"
    assert torch.allclose(blanked(batch.query.crop, space), blanked(batch.truth, space), atol=1e-6)


def test_runs_are_neighbours_in_time(subject):
    examples = Examples(subject.bank, None, torch.device("cpu"), torch.Generator().manual_seed(1))
    rows = examples.draw(8, run=2).row.reshape(4, 2)
    assert (rows[:, 1] - rows[:, 0] == 1).all()
    assert not set(examples.learned) & set(examples.held)


def test_blurred_mouths_are_left_out_and_closed_ones_are_not(subject):
    sharpness = np.where(GAPS > 0.06, 200.0, 30.0).astype(np.float32)  # teeth are sharp
    sharpness[[7, 30]] *= 0.2
    bank = dataclasses.replace(subject.bank, sharpness=sharpness)
    examples = Examples(bank, None, torch.device("cpu"), torch.Generator())
    assert examples.n_blurred == 2 and not {7, 30} & {*examples.learned, *examples.held}
    assert (usual_sharpness(bank) > 20).all()


def test_drawn_lips_show_the_opening():
    space = drawn_subject(GAPS[:3]).bank.space
    lips = torch.from_numpy(np.stack([lips_open(g) for g in (0.0, 0.05, 0.1)]))
    opening = drawn_lips(lips, space, (space.height, space.width))[:, 2].sum((1, 2)) / space.scale**2
    width = float(lips[0, 6, 0] - lips[0, 0, 0])
    assert opening[0] < 0.3 * opening[1] < opening[2]
    assert abs(float(opening[2] - opening[1]) - 0.05 * width * 0.75) < 0.03 * width
    truth = draw(lips_open(0.1), space).mean(0) < 60  # the dark opening
    drawn = drawn_lips(lips[2:], space, (space.height, space.width))[0, 2].numpy() > 0.5
    assert (
        truth & drawn
    ).sum() >= 0.97 * drawn.sum() and drawn.sum() > 0.7 * truth.sum()  # fillPoly fills the pixels on its border, too


# --- the command ---


@pytest.fixture
def run(tmp_path, monkeypatch, subject):
    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target.mp4").write_bytes(b"x")
    soundfile.write(tmp_path / "speech.wav", np.zeros(16000, np.float32), 16000)
    monkeypatch.setattr("lipsync.pipelines.train_texture.analyse", lambda *rest, **more: subject)
    return lambda *args: CliRunner().invoke(app, [str(a) for a in args])


def test_the_command_writes_weights_and_pictures(run, tmp_path, monkeypatch):
    monkeypatch.setattr("lipsync.pipelines.train_texture.get_method", lambda name, config: small(name))
    done = run("train", "texture", OWN, "target.mp4", "-o", "w.safetensors", "--json", "--set", "device=cpu")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["report"]
    assert (
        report["perceptual"] == "mouth-encoder"
        and report["parameters"] > 0
        and (tmp_path / "w.samples.png").stat().st_size > 0
    )
    assert not list((tmp_path / "cache").rglob("training.safetensors")), "nothing unfinished is left"
    again = run("train", "texture", OWN, "target.mp4", "-o", "w.safetensors")
    assert again.exit_code == 3 and "--force" in again.stderr


@pytest.mark.parametrize(
    "args, says, status",
    [
        (("train", "texture", "median", "target.mp4", "-o", "w.safetensors"), "learns nothing", 2),
        (("train", "texture", "pix2pics", "target.mp4", "-o", "w.safetensors"), "Did you mean 'pix2pix'", 2),
        (("train", "texture", "pix2pix", "target.mp4", "-o", "w.pt"), ".safetensors", 2),
        (("dub", "target.mp4", "speech.wav", "-o", "o.mp4", "--texture", "pix2pix"), "--train-texture", 3),
        (
            (
                "dub",
                "target.mp4",
                "speech.wav",
                "-o",
                "o.mp4",
                "--texture",
                "pix2pix",
                "--texture-weights",
                "none.safetensors",
            ),
            "do not exist",
            3,
        ),
        (
            (
                "dub",
                "target.mp4",
                "speech.wav",
                "-o",
                "o.mp4",
                "--texture",
                "pix2pix",
                "--texture-weights",
                "broken.safetensors",
            ),
            "cannot be read",
            3,
        ),
        (
            (
                "dub",
                "target.mp4",
                "speech.wav",
                "-o",
                "o.mp4",
                "--texture",
                "pix2pix",
                "--texture-weights",
                "other.safetensors",
            ),
            "new-method, not pix2pix",
            3,
        ),
        (
            (
                "dub",
                "target.mp4",
                "speech.wav",
                "-o",
                "o.mp4",
                "--texture",
                "pix2pix",
                "--texture-weights",
                "lips.safetensors",
            ),
            "does not hold texture weights",
            3,
        ),
        (
            ("dub", "target.mp4", "speech.wav", "-o", "o.mp4", "--texture", "mine.py"),
            "lacks needs, radius, prepare, render",
            3,
        ),
    ],
)
def test_one_sentence_for_what_cannot_be_used(run, tmp_path, subject, args, says, status):
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not json at all")
    small(OWN).begin(subject, "cpu").save(tmp_path / "other.safetensors")
    from lipsync.store.registry import LIP_PRIORS

    (tmp_path / "lips.safetensors").write_bytes(LIP_PRIORS["logmel"].read_bytes())
    (tmp_path / "mine.py").write_text("class Method:\n    name = 'mine'\n")
    done = run(*args)
    assert done.exit_code == status and says in done.stderr, done.output
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr and not (tmp_path / "o.mp4").exists()


def test_weights_of_another_target_size(subject, tmp_path):
    small(OWN).begin(subject, "cpu").save(tmp_path / "w.safetensors")
    method = get_method(OWN, DubConfig(texture_weights=str(tmp_path / "w.safetensors")))
    with pytest.raises(LipsyncError, match="trained for another target"):
        method.prepare(drawn_subject(GAPS, eye_distance_px=80), "cpu")


def test_weights_of_another_version(subject, tmp_path):
    made = small(OWN).begin(subject, "cpu")
    made.nets["more"] = torch.nn.Linear(1, 1)
    made.save(tmp_path / "w.safetensors")
    with pytest.raises(LipsyncError, match="does not fit the networks"):
        get_method(OWN, DubConfig(texture_weights=str(tmp_path / "w.safetensors"))).prepare(subject, "cpu")


def test_too_little_footage():
    with pytest.raises(LipsyncError, match="50 are needed"):
        train_texture(small(OWN), drawn_subject(GAPS[:30]))


def test_trained_on_the_fly_once(subject, tmp_path, monkeypatch):
    config = DubConfig(texture=OWN, train_texture=True)
    seen = []
    monkeypatch.setattr("lipsync.pipelines.models.get_method", lambda name, config: small(name, steps=2))
    for _ in range(2):
        texture_for(subject, config, Cache(tmp_path), torch.device("cpu"), lambda step, done, total: seen.append(done))
    assert seen == [1, 2], "the second time it is found in the cache"


def test_two_processes_train_together(small_target, shared_cache, tmp_path):
    pytest.importorskip("lightning", reason="needs Lightning: pip install 'lipsync-dub[train]'")
    from lipsync.pipelines.train_texture import train_texture as learn

    config = DubConfig(device="cpu", vae=dataclasses.replace(DubConfig().vae, steps=2, batch=2, width=64))
    made = learn("vae", small_target, tmp_path / "w.safetensors", config, devices=2, cache=shared_cache)
    assert made["report"]["devices"] == 2 and made["report"]["steps"] == 2 and (tmp_path / "w.samples.png").exists()
    get_method("vae", DubConfig(texture_weights=str(tmp_path / "w.safetensors"))).check_weights()


def test_an_interrupted_command_goes_on_over_its_own_samples(run, tmp_path, monkeypatch):
    monkeypatch.setattr("lipsync.pipelines.train_texture.get_method", lambda name, config: small(name))
    args = ("train", "texture", OWN, "target.mp4", "-o", "w.safetensors", "--set", "device=cpu")
    whole = training_module.loop.train

    def interrupted(*rest, **more):
        whole(*rest, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_module.loop, "train", interrupted)
        assert run(*args).exit_code != 0
    drawn = tmp_path / "w.samples.png"
    assert drawn.exists() and not (tmp_path / "w.safetensors").exists()
    content = drawn.read_bytes()
    drawn.write_bytes(b"somebody else's")
    refused = run(*args)
    assert refused.exit_code == 3 and "w.samples.png exists already. Add --force" in refused.stderr
    drawn.write_bytes(content)
    done = run(*args)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "w.safetensors").exists()


def test_dub_reads_texture_weights_once(subject, tmp_path, monkeypatch):
    small(OWN).begin(subject, "cpu").save(tmp_path / "w.safetensors")
    config = DubConfig(texture=OWN, texture_weights=str(tmp_path / "w.safetensors"))
    reads = []
    read = trainable.read_weights
    monkeypatch.setattr(trainable, "read_weights", lambda path: reads.append(path) or read(path))
    method = check_texture(config)
    texture_for(subject, config, Cache(tmp_path), torch.device("cpu"), method=method)
    assert len(reads) == 1


def test_crops_are_made_only_where_they_are_needed(subject, monkeypatch):
    track, rows = subject.track, np.arange(3)
    clock = dataclasses.replace(track.lips.clock, pts=track.lips.clock.pts[:3], end=track.lips.clock.pts[3])
    lips = LipTrack(track.lips.points[rows], np.ones(3, bool), clock)
    plan = DubPlan(rows, np.zeros(3, bool), lips, np.ones(3, bool), clock, np.zeros(0, int))
    monkeypatch.setattr("lipsync.render.plan.warp", lambda *rest, **more: pytest.fail("nobody asked for a crop"))
    method = types.SimpleNamespace(radius=0, needs=frozenset())
    frames = torch.zeros(3, 3, 240, 300, dtype=torch.uint8)
    query = build_query(plan, faces_along(track, plan, 2), subject.bank.space, slice(0, 3), frames, method)
    assert query.crop is None and not hasattr(query, "source")
