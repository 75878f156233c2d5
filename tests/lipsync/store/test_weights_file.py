"""A damaged or foreign file of weights is one sentence; a whole one is read bit for bit."""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lipsync.config.schema import DubConfig
from lipsync.config.textures import Pix2PixConfig
from lipsync.core.errors import LipsyncError
from lipsync.speech.lip_model import LipModel
from lipsync.store.weights_file import read_weights_file
from lipsync.textures import get_method
from lipsync.textures.trainable import options_of
from tests.fuzz import seeds


@pytest.fixture
def lips(tmp_path):
    """(path, marks, tensors) of a whole lip model."""
    path = seeds.make_lip_models(tmp_path)[0]
    with safe_open(str(path), "pt") as file:
        return path, file.metadata(), {name: file.get_tensor(name).clone() for name in file.keys()}


def test_a_whole_file_is_read_bit_for_bit(lips):
    path, metadata, tensors = lips
    got = read_weights_file(path, "a lip model")
    assert got.metadata == metadata and got.tensors.keys() == tensors.keys()
    assert all(
        torch.equal(got.tensors[name], tensors[name]) and got.tensors[name].dtype == tensors[name].dtype
        for name in tensors
    )
    again = LipModel.load(path)
    assert np.array_equal(again.rest, tensors["rest"].numpy()) and again.report == {"lmd": 0.02}


TENSOR_DAMAGE = {
    "nan": lambda t: t["net0.head.bias"].fill_(float("nan")),
    "infinite": lambda t: t["gain"].fill_(float("inf")),
    "huge": lambda t: t["net0.lstm.weight_ih_l0"].fill_(1e30),
    "missing": lambda t: t.pop("rest"),
    "too many": lambda t: t.update({"net0.more": torch.zeros(3)}),
    "another shape": lambda t: t.update(rest=t["rest"].T.contiguous()),
    "another network": lambda t: t.update({"net0.head.bias": torch.zeros(5)}),
    "another kind": lambda t: t.update(gain=t["gain"].to(torch.bfloat16)),
    "divided by nothing": lambda t: t["feature_scale"].zero_(),
}
ABOUT_DAMAGE = {
    "no network": lambda a: a.pop("network"),
    "an unknown network": lambda a: a.update(network="huge"),
    "a list for a network": lambda a: a.update(network=[]),
    "no nets": lambda a: a.update(nets=0),
    "a billion nets": lambda a: a.update(nets=10**9),
    "more nets than there are": lambda a: a.update(nets=2),
    "another encoder": lambda a: a["encoder"].update(identity="x"),
    "an encoder of another kind": lambda a: a.update(encoder=3),
    "columns that no features have": lambda a: a.update(columns=[[0, 99]]),
    "a measure that is no number": lambda a: a["report"].update(lmd="small"),
    "a report that cannot be printed": lambda a: a["report"].update(warning="\x1b[2J"),
    "no report": lambda a: a.update(report=None),
}


@pytest.mark.parametrize("damage", TENSOR_DAMAGE)
def test_damaged_tensors(lips, damage):
    path, metadata, tensors = lips
    TENSOR_DAMAGE[damage](tensors)
    save_file(tensors, str(path), metadata)
    refused(path)


@pytest.mark.parametrize("damage", ABOUT_DAMAGE)
def test_damaged_remarks(lips, damage):
    path, metadata, tensors = lips
    about = json.loads(metadata["lips"])
    ABOUT_DAMAGE[damage](about)
    save_file(tensors, str(path), metadata | {"lips": json.dumps(about)})
    refused(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", "[" * 100_000])
def test_remarks_that_are_no_json_object(lips, text):
    path, metadata, tensors = lips
    save_file(tensors, str(path), metadata | {"lips": text})
    refused(path)


def refused(path):
    with pytest.raises(LipsyncError) as caught:
        LipModel.load(path)
    said = str(caught.value)
    assert (
        said.startswith("one.safetensors ")
        and said.endswith("Train it again.")
        and said.isprintable()
        and len(said) < 300
    )


def test_networks_of_other_sizes_take_no_memory(tmp_path):
    """A small file that asks for networks of a terabyte."""
    path = seeds.make_textures(tmp_path)[0]
    with safe_open(str(path), "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    about = json.loads(metadata["texture"])
    about["config"] |= {"channels": 4096, "levels": 8}
    save_file(tensors, str(path), metadata | {"texture": json.dumps(about)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LipsyncError, match="does not fit the networks of pix2pix"):
        get_method("pix2pix", DubConfig(texture_weights=str(path))).prepare(seeds.small_subject(), "cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize(
    "options",
    [{"levels": 10**9}, {"levels": "5"}, {"levels": 5.5}, {"rate": None}, {"l1": float("nan")}, {"unknown": 1}],
)
def test_options_that_no_method_has(options):
    with pytest.raises((TypeError, ValueError, KeyError)):
        options_of(Pix2PixConfig, options)


def test_options_of_a_file():
    assert options_of(Pix2PixConfig, {"levels": 3, "steps": 10**6, "rate": 1}) == Pix2PixConfig(
        levels=3, steps=10**6, rate=1
    )
