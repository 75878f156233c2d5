"""The ComfyUI node keeps to ComfyUI's protocol: what it states, what it is given, what it answers."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from tests.support import ROOT, SAMPLES

FOLDER = ROOT / "integrations" / "comfyui"


class VideoFromFile:
    """As comfy_api's: a video in a file or in memory."""

    def __init__(self, file):
        self.file = file

    def get_stream_source(self):
        return self.file


class Interrupted(Exception):
    pass


@pytest.fixture
def comfy(monkeypatch, tmp_path):
    """ComfyUI's modules, as far as the node calls them; `stop` interrupts."""
    state = SimpleNamespace(stop=False, bars=[], out=tmp_path / "output", calls=[])

    class ProgressBar:
        def __init__(self, total):
            state.bars.append(self)

        def update_absolute(self, value, total=None):
            self.value, self.total = value, total

    def interrupted():
        if state.stop:
            raise Interrupted

    def save_path(prefix, folder, width=0, height=0):
        place = state.out / "video"
        place.mkdir(parents=True, exist_ok=True)
        return str(place), "lipsync", 1, "video", prefix

    parts = {
        "folder_paths": {"get_output_directory": lambda: str(state.out), "get_save_image_path": save_path},
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {"throw_exception_if_processing_interrupted": interrupted},
        "comfy_api": {},
        "comfy_api.input_impl": {"VideoFromFile": VideoFromFile},
    }
    for name, members in parts.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return state


@pytest.fixture
def node():
    spec = importlib.util.spec_from_file_location("comfyui_lipsync", FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sound(seconds=1.0, rate=8000):
    wave = torch.sin(torch.arange(round(seconds * rate)) * 0.3)
    return {"waveform": torch.stack([wave, -2 * wave])[None], "sample_rate": rate}


def test_what_the_node_states_is_what_comfyui_reads(node):
    kind = node.NODE_CLASS_MAPPINGS["LipsyncDub"]
    assert node.NODE_DISPLAY_NAME_MAPPINGS.keys() == node.NODE_CLASS_MAPPINGS.keys()
    assert callable(getattr(kind, kind.FUNCTION)) and len(kind.RETURN_TYPES) == len(kind.RETURN_NAMES)
    inputs = kind.INPUT_TYPES()
    assert inputs["required"]["target"][0] == "VIDEO" and inputs["required"]["speech"][0] == "AUDIO"
    names, settings = inputs["optional"]["texture"]
    assert settings["default"] in names
    assert inputs["required"]["consent"][1]["default"] is False


def test_the_workflow_fits_the_node(node):
    flow = json.loads((FOLDER / "workflow.json").read_text())
    (mine,) = [one for one in flow["nodes"] if one["type"] in node.NODE_CLASS_MAPPINGS]
    kind = node.NODE_CLASS_MAPPINGS[mine["type"]]
    inputs = {**kind.INPUT_TYPES()["required"], **kind.INPUT_TYPES()["optional"]}
    linked = [one["name"] for one in mine["inputs"]]
    widgets = [one for one in inputs if one not in linked]
    defaults = [inputs[name][1]["default"] for name in widgets]
    assert linked == ["target", "speech"] and mine["widgets_values"] == defaults
    assert [(one["name"], one["type"]) for one in mine["outputs"]] == list(
        zip(kind.RETURN_NAMES, kind.RETURN_TYPES, strict=True)
    )
    for number, start, slot, end, at, of in flow["links"]:
        nodes = {one["id"]: one for one in flow["nodes"]}
        assert number in nodes[start]["outputs"][slot]["links"] and nodes[start]["outputs"][slot]["type"] == of
        assert nodes[end]["inputs"][at]["link"] == number and nodes[end]["inputs"][at]["type"] == of


def test_nothing_is_made_without_consent(node, comfy):
    with pytest.raises(ValueError, match="consent"):
        node.LipsyncDub().dub(VideoFromFile("x"), sound(), False)
    assert not comfy.out.exists()


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_dub_gets_the_files_and_the_options(node, comfy, monkeypatch, in_memory):
    import soundfile

    import lipsync

    def dub(target, speech, out, config, *, preview_s, hook):
        samples, rate = soundfile.read(speech)
        assert samples.shape == (8000, 2) and rate == 8000 and abs(samples).max() <= 1
        assert target.read_bytes() == (SAMPLES / "speech.json").read_bytes()
        comfy.calls.append((out, config, preview_s))
        hook("dub", 3, 10)
        hook("hash", 1, 0)
        out.write_bytes(b"film"), out.with_name(out.name + ".json").write_text("{}")
        return SimpleNamespace(summary=lambda: ["made"])

    monkeypatch.setattr(lipsync, "dub", dub)
    path = SAMPLES / "speech.json"
    target = VideoFromFile(io.BytesIO(path.read_bytes()) if in_memory else str(path))
    answer = node.LipsyncDub().dub(target, sound(), True, "Robin", "nearest", 2, 1.5)
    ((out, config, preview_s),) = comfy.calls
    assert answer["result"][0].file == str(out) and answer["result"][1] == "{}"
    assert answer["ui"]["images"] == [{"filename": "lipsync_00001_.mp4", "subfolder": "video", "type": "output"}]
    assert (config.texture, config.face.index, config.mark.consent) == ("nearest", 2, "stated in ComfyUI: Robin")
    assert preview_s == 1.5 and [(bar.value, bar.total) for bar in comfy.bars] == [(3, 10)]


@pytest.mark.slow
def test_a_real_dub_and_an_interrupt(node, comfy, small_target, short_speech, monkeypatch, tmp_path):
    import soundfile

    from lipsync.store.receipt import Receipt

    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "cache"))
    samples, rate = soundfile.read(short_speech, dtype="float32")
    speech = {"waveform": torch.from_numpy(samples)[None, None], "sample_rate": rate}
    comfy.stop = True
    with pytest.raises(Interrupted):
        node.LipsyncDub().dub(VideoFromFile(str(small_target)), speech, True)
    assert not list(comfy.out.rglob("*.mp4"))
    comfy.stop = False
    video, receipt = node.LipsyncDub().dub(VideoFromFile(str(small_target)), speech, True, preview_s=1.0)["result"]
    made = Receipt.from_json(receipt)
    assert made.output.frames == 25 and made.marks.consent["text"].startswith("stated in ComfyUI")
    assert video.file.endswith("lipsync_00001_.mp4")
