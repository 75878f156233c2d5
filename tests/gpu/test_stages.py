"""Every stage of drawing gives on a GPU what it gives on the CPU, on the GPU and nowhere else. Without a GPU the tests
run on a pretended one, which finds tensors on two devices and needless waiting, but no other arithmetic.

Tolerances, of full scale: 1 grey level of 255 where the arithmetic is float32 throughout, 3 where networks draw (their
convolutions may be TF32 on a GPU)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipsync.config.schema import BlendName, DubConfig, TeethConfig
from lipsync.core.geometry import warp
from lipsync.core.texture import MouthTexture, TextureQuery
from lipsync.core.types import TeethReference
from lipsync.render.composite import composite
from lipsync.render.plan import PlannedFaces, build_query
from lipsync.render.teeth import sharpen_teeth
from lipsync.textures import get_method, texture_names
from lipsync.textures.trainable import as_trainable
from tests.support.drawn import drawn_subject
from tests.support.textures import query_for

pytestmark = pytest.mark.gpu
GAPS = 0.06 + 0.06 * np.sin(np.arange(60) / 3.0)
LEVEL, N = 1 / 255, 2


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


def on(device, query):
    parts = (query.lips, query.pose, query.crop, query.speech)
    return TextureQuery(*(None if part is None else part.to(device) for part in parts))


def ready(name, subject, device):
    """The method on the device; one that learns with the weights that it starts from."""
    method = get_method(name, DubConfig())
    if as_trainable(method):
        method.config = replace(method.config, width=64)
        method.begin(subject, device)
    return method.prepare(subject, device)


@pytest.mark.parametrize("name", texture_names())
def test_a_method_draws_on_the_gpu_what_it_draws_on_the_cpu(name, subject, gpu):
    here, there = ready(name, subject, "cpu"), ready(name, subject, "cuda")
    query = query_for(GAPS[10:12], here.radius, subject.bank.space)
    near, far = here.render(query), there.render(on("cuda", query))
    for part in ("rgb", "alpha", "jaw"):
        ours, theirs = getattr(near, part), getattr(far, part)
        assert theirs.device.type == "cuda", f"{part} came back from the GPU"
        assert torch.allclose(theirs.cpu(), ours, atol=3 * LEVEL), part


def scene(subject):
    """Smooth frames with the drawn mouths' faces in them, and other mouths to draw."""
    track, n = subject.track, N
    y, x = np.mgrid[:240, :300]
    frame = np.stack([150 + 60 * np.sin(x / 40), 120 + 50 * np.cos(y / 30), 90 + 0.3 * x]).astype(np.uint8)
    frames = torch.from_numpy(frame)[None].repeat(n, 1, 1, 1)
    rows = slice(0, n)
    faces = PlannedFaces(
        track.pixel_from_face[rows],
        track.lips.points[rows],
        subject.bank.jaw[rows],
        track.pose[rows],
        np.ones(n, np.float32),
    )
    crops = torch.from_numpy(subject.bank.take(np.arange(20, 20 + n))).float() / 255
    jaw = torch.from_numpy(subject.bank.jaw[20 : 20 + n])
    return frames, MouthTexture(crops, torch.ones_like(crops[:, :1]), jaw), faces, subject.bank.lips[20 : 20 + n]


def moved(mouth, device):
    return MouthTexture(*(part.to(device) for part in (mouth.rgb, mouth.alpha, mouth.jaw)))


@pytest.mark.parametrize("blend", BlendName.__args__)
def test_compositing(blend, subject, gpu, monkeypatch):
    frames, mouth, faces, lips = scene(subject)
    config, space = replace(DubConfig().composite, blend=blend), subject.bank.space
    if gpu is not None:
        monkeypatch.setattr("lipsync.render.blends.poisson.MOST_STEPS", 3)  # of many hundred small sums each
    near = composite(frames, mouth, lips, faces, slice(0, N), space, config)
    far = composite(frames.to("cuda"), moved(mouth, "cuda"), lips, faces, slice(0, N), space, config)
    assert far.device.type == "cuda"
    off = (far.cpu().int() - near.int()).abs()
    assert (near != frames).any() and off.max() <= 3 and (off > 1).float().mean() < 1e-4


def test_teeth(subject, gpu):
    _, mouth, _, lips = scene(subject)
    space, rng = subject.bank.space, np.random.default_rng(0)
    size = (space.height, space.width)
    detail, known = rng.normal(0, 0.1, (2, 3, *size)), rng.random((2, *size))
    teeth = TeethReference(detail.astype(np.float32), known.astype(np.float32), lips, np.array([-0.2, 0.1], np.float32))
    near = sharpen_teeth(mouth, teeth, lips, space, TeethConfig())
    far = sharpen_teeth(moved(mouth, "cuda"), teeth, lips, space, TeethConfig())
    assert far.rgb.device.type == "cuda" and not torch.equal(near.rgb, mouth.rgb)
    assert torch.allclose(far.rgb.cpu(), near.rgb, atol=LEVEL)


def test_the_query(subject, gpu):
    frames, _, faces, _ = scene(subject)
    method = get_method("hybrid", DubConfig())
    near, far = (
        build_query(subject_plan(subject), faces, subject.bank.space, slice(0, N), each, method)
        for each in (frames, frames.to("cuda"))
    )
    for part in ("lips", "pose", "crop"):
        ours, theirs = getattr(near, part), getattr(far, part)
        assert theirs.device.type == "cuda" and torch.allclose(theirs.cpu(), ours, atol=LEVEL), part


def subject_plan(subject):
    from lipsync.core.types import DubPlan, LipTrack
    from video.clock import FrameClock

    lips = LipTrack(subject.bank.lips[:N], np.ones(N, bool), FrameClock.constant(N, subject.video.clock.rate))
    still = np.zeros(N, bool)
    return DubPlan(np.arange(N), still, lips, ~still, lips.frames, np.zeros(0, np.int64))


def test_warping_a_picture(subject, gpu):
    frames = scene(subject)[0].float() / 255
    matrix = np.array([[0.7, 0.1, 5.0], [-0.1, 0.7, 30.0], [0, 0, 1]])[None].repeat(N, 0)
    near, far = warp(frames, matrix, (120, 160)), warp(frames.to("cuda"), matrix, (120, 160))
    assert far.device.type == "cuda" and torch.allclose(far.cpu(), near, atol=LEVEL)
