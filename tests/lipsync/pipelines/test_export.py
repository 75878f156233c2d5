"""Networks as ONNX answer as torch does, at other sizes of their free axis, too; a texture drawn by ONNX Runtime is the
same picture; what cannot be exported is told."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.pipelines import export as exporting
from lipsync.pipelines.export import draw_some, export, export_texture
from lipsync.speech.encoders.distilled import bundled_encoder
from lipsync.speech.prior import bundled_lip_model
from lipsync.store import onnx_file, registry
from lipsync.textures import get_method
from tests.support.drawn import drawn_subject
from tests.support.textures import query_for

GAPS = 0.06 + 0.06 * np.sin(np.arange(60) / 3.0)


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")


def run(path, *inputs):
    session = onnx_file.session_of(path)
    return onnx_file.answer_of(session, inputs, [one.name for one in session.get_inputs()])


def ready(name, subject, engine="torch"):
    method = get_method(name, DubConfig(engine=engine))
    method.config = replace(method.config, width=64)
    return method.begin(subject, "cpu").prepare(subject, "cpu")


def test_lips_from_onnx_are_those_of_the_program(onnx, tmp_path):
    model = bundled_lip_model("logmel")
    about = export(registry.LIP_PRIORS["logmel"], tmp_path / "lips")
    assert about == {"path": about["path"], "weights": about["weights"]} | json.loads(
        (tmp_path / "lips" / "export.json").read_text()
    )
    assert about["files"]["lips.onnx"]["inputs"] == {"features": [1, "rows", 40]}
    rows = model.feature_mean + model.feature_scale * torch.randn(600, 40, generator=torch.Generator().manual_seed(3))
    (lips,) = run(tmp_path / "lips" / "lips.onnx", rows[None])
    assert lips.shape == (1, 300, 18, 2)
    assert np.abs(lips[0].numpy() - model.predict_rows(rows)[::2]).max() < 1e-4


def test_the_encoder(onnx, tmp_path):
    export(registry.SPEECH_ENCODER, tmp_path / "enc")
    encoder, bands = bundled_encoder(), torch.randn(1, 250, 80, generator=torch.Generator().manual_seed(1))
    (made,) = run(tmp_path / "enc" / "encoder.onnx", bands)
    wanted = encoder.net((bands - encoder.mean) / encoder.scale)
    assert torch.allclose(made, wanted, atol=1e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["pix2pix", "hybrid", "autoencoder"])
def test_a_texture_by_onnx_is_the_same_picture(onnx, name, subject):
    here, other = ready(name, subject), ready(name, subject, "onnx")
    query = query_for(GAPS[10:12], here.radius, subject.bank.space)
    calls = []
    for net in other.nets.values():
        net.forward.plain = lambda *args, own=net.forward.plain: calls.append(1) or own(*args)
    drawn = other.render(query)
    assert torch.allclose(drawn.rgb, here.render(query).rgb, atol=0.5 / 255)
    once = len(calls)
    other.render(query)
    assert calls and len(calls) == once, "torch is asked only where the networks are exported"


def test_what_is_exported_of_a_texture(onnx, subject, tmp_path):
    method = ready("hybrid", subject)
    draw_some(method, subject.bank)
    about = export_texture(method, tmp_path)
    assert sorted(about["files"]) == ["compare.onnx", "generator.onnx", "look.onnx"]
    height, width = method.size
    inputs = about["files"]["generator.onnx"]["inputs"]
    assert inputs == {"input0": ["batch", 12, height, width]}
    x = torch.rand(3, 12, height, width)
    (made,) = run(tmp_path / "generator.onnx", x)
    assert torch.allclose(made, method.nets["generator"](x), atol=1e-3)


def test_a_network_that_answers_otherwise_is_refused(onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "answer_of", lambda session, args, names: (args[0] + 1,))
    with pytest.raises(LipsyncError, match="off torch"):
        onnx_file.export_net(nn.Identity(), [torch.ones(2, 3)], tmp_path / "x.onnx", {0: "batch"})
    assert not (tmp_path / "x.onnx").exists()


def test_what_cannot_be_exported_is_told(tmp_path, monkeypatch, subject):
    monkeypatch.setattr(exporting, "require_onnx", lambda: None)
    with pytest.raises(LipsyncError, match="no network that can be exported"):
        export(registry.VOICE, tmp_path / "o")
    method = ready("pix2pix", subject)
    method.save(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="--target"):
        export(tmp_path / "w.safetensors", tmp_path / "o")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(LipsyncError, match="not empty.*--force"):
        export(registry.SPEECH_ENCODER, tmp_path / "full")


def test_without_the_libraries_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(LipsyncError, match=r"onnx and onnxruntime.*lipsync-dub\[onnx\]"):
        get_method("pix2pix", DubConfig(engine="onnx"))
