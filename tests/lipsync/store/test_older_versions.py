"""What version 0.1 left behind is read, or left alone; it never breaks anything."""

import json

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lipsync.speech.encoders.registry import PAPER
from lipsync.speech.lip_model import LipModel
from lipsync.store.cache import Cache
from tests.fuzz import seeds


def test_a_lip_model_of_0_1_is_read(tmp_path):
    path = seeds.make_lip_models(tmp_path)[0]
    with safe_open(str(path), "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    old = {name.replace(".proj_in.", ".enter.").replace(".head.", ".leave."): t for name, t in tensors.items()}
    assert old.keys() != tensors.keys()
    about = json.loads(metadata["lips"])
    del about["encoder"]
    metadata |= {"format": "lipsync-lips-2", "lips": json.dumps(about | {"spec": PAPER.spec.to_dict()})}
    save_file(old, str(tmp_path / "old.safetensors"), metadata)
    new, read = LipModel.load(path), LipModel.load(tmp_path / "old.safetensors")
    assert np.array_equal(new.rest, read.rest) and new.report == read.report
    states = zip(new.nets[0].state_dict().items(), read.nets[0].state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in states)


def test_cache_entries_of_0_1_are_left_alone_and_can_be_cleared(tmp_path):
    cache = Cache(tmp_path)
    for key, label in (("old", {"format": 1, "step": "lips", "key": "old", "label": "a.mp4"}), ("odd", ["?"])):
        (tmp_path / "lips" / key).mkdir(parents=True)
        (tmp_path / "lips" / key / "entry.json").write_text(json.dumps(label))
        (tmp_path / "lips" / key / "model.bin").write_bytes(b"old")
    assert sorted(entry.label for entry in cache.entries()) == ["", "a.mp4"]
    made = cache.get_or_make("lips", "new", lambda folder: (folder / "model.bin").write_bytes(b"new"))
    assert (made / "model.bin").read_bytes() == b"new"
    assert (tmp_path / "lips" / "old" / "model.bin").read_bytes() == b"old"
    again = cache.get_or_make("lips", "old", lambda folder: (folder / "model.bin").write_bytes(b"made again"))
    assert (again / "model.bin").read_bytes() == b"made again"
    assert cache.clear()[0] == 3 and cache.entries() == []
