"""The voice network's material and training, on made-up sounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audio.load import RATE, Waveform
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.speech.voice import SPEC, VoiceNet
from training import background_sounds as made
from training import voice_material
from training.voice import VoiceRecipe, scene, scenes, train_voice
from training.voice_material import Material, Sound, check_present, files_of, music_files

pytestmark = pytest.mark.usefixtures("one_thread")

MAKERS = ("steady_noise", "unsteady_noise", "hum", "clicks", "tones", "chords", "breath", "vowels")


@pytest.fixture(scope="module")
def material() -> Material:
    """Speech: 1 s of vowels between silences of 0.5 s. Music: chords."""
    said, rng = [], np.random.default_rng(0)
    for _ in range(4):
        samples = np.pad(0.1 * made.vowels(RATE, rng), RATE // 2)
        said.append(Sound((samples.clip(-1, 1) * 32767).astype(np.int16), np.pad(np.ones(100, bool), (50, 51))))
    music = [
        Sound((0.1 * made.chords(4 * RATE, rng).clip(-9, 9) * 32767).astype(np.int16), np.zeros(401, bool))
        for _ in range(3)
    ]
    return Material((said,), music, [])


@pytest.mark.parametrize("name", MAKERS)
def test_made_sounds_are_as_loud_as_asked_and_the_same_again(name):
    for seed, n in ((0, RATE), (1, 5000), (2, 3 * RATE)):
        a, b = (getattr(made, name)(n, np.random.default_rng(seed)) for _ in range(2))
        assert a.shape == (n,) and np.isfinite(a).all() and np.array_equal(a, b)
        assert np.sqrt((a**2).mean()) == pytest.approx(1, abs=0.01)


def test_a_scene_tells_when_somebody_speaks(material):
    """Where the truth is told, the speech is what is loud: without backgrounds nothing sounds elsewhere."""
    alone, told = Material(material.speech, [], []), []
    for seed in range(40):
        samples, voiced = scene(material, 300, np.random.default_rng(seed))
        assert samples.shape == (300 * 160,) and voiced.shape == (300,) and np.isfinite(samples).all()
        assert np.array_equal(scene(material, 300, np.random.default_rng(seed))[0], samples)
        told.append(voiced.mean())
        samples, voiced = scene(alone, 300, np.random.default_rng(seed))
        level = np.sqrt((samples.reshape(300, 160) ** 2).mean(1))
        if voiced.any() and not voiced.all() and level[~voiced].max() < 1e-6:
            assert np.median(level[voiced]) > 1e-3
    assert 0.15 < np.mean(told) < 0.6 and min(told) == 0


def test_a_few_steps_teach_it_and_are_the_same_for_the_same_seed(material):
    learned, held = scenes(material, 24, 2.0, 0), scenes(material, 8, 2.0, 1)
    assert learned[0].shape == (24, 200, SPEC.n_mels) and learned[1].dtype == bool

    def error(net: VoiceNet) -> float:
        x = torch.from_numpy(held[0].astype(np.float32)).transpose(1, 2)
        with torch.no_grad():
            return float(((net(x) > 0).numpy() != held[1]).mean())

    first, again, other = (train_voice(learned, held, VoiceRecipe(steps=12, batch=8, seed=seed)) for seed in (0, 0, 1))
    a, b, c = (torch.cat([v.flatten() for v in net.state_dict().values()]) for net in (first, again, other))
    assert torch.equal(a, b) and not torch.equal(a, c)
    taught = train_voice(learned, held, VoiceRecipe(steps=60, batch=8))
    assert error(taught) < 0.25


def test_the_recipe_loads_and_mistakes_are_named(tmp_path):
    assert VoiceRecipe.load("voice").steps > 0
    (tmp_path / "odd.toml").write_text("step = 6\n")
    with pytest.raises(UsageError, match="step"):
        VoiceRecipe.load(str(tmp_path / "odd.toml"))
    with pytest.raises(UsageError, match="voice"):
        VoiceRecipe.load("none-such")


def test_packages_are_found_installed_or_unpacked(tmp_path, monkeypatch):
    """Held-out tracks, languages and beeps are not among what is learned from."""
    for name in (
        "a/usr/share/asterisk/sounds/en_US/digits/1.g722",
        "a/usr/share/asterisk/sounds/en_US/beep.g722",
        "a/usr/share/asterisk/sounds/it_IT/digits/1.g722",
        "b/usr/share/klettres/de/alpha/a.ogg",
        "b/usr/share/klettres/it/alpha/a.ogg",
        "games/hedgewars/Data/Music/Rock.ogg",
        "games/hedgewars/Data/Music/City.ogg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("LIPSYNC_SOUNDS", str(tmp_path))
    voices = files_of(voice_material._VOICES, voice_material._NOT_VOICES)
    assert [path.relative_to(tmp_path).parts[0] + path.name for path in voices] == ["a1.g722", "ba.ogg"]
    assert [path.stem for path in music_files()] == ["Rock"]
    assert [path.stem for path in music_files(("City",))] == ["City"]


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LIPSYNC_SOUNDS", str(tmp_path))
    monkeypatch.setattr(voice_material, "engine_missing", lambda engine: "")
    monkeypatch.setattr(voice_material.grid, "data_folder", lambda: tmp_path)
    with pytest.raises(LipsyncError, match="hedgewars-data.*LIPSYNC_SOUNDS"):
        check_present()


def test_loudness_labels_clean_speech():
    samples = np.pad(0.1 * made.vowels(RATE, np.random.default_rng(0)), (RATE // 2, RATE // 2))
    voiced = voice_material.loud_rows(Waveform.of(samples))
    assert len(voiced) == 201 and voiced[52:148].all() and not voiced[:42].any() and not voiced[160:].any()
