"""Synthetic voices and their alignment to other recordings of the same words."""

from __future__ import annotations

import numpy as np
import pytest

from audio.features import FeatureSpec, speech_features
from audio.load import Waveform
from training.alignment import features_under, phones_of, time_map
from training.phones import PHONES, Phones, arpabet_of
from training.sentences import ENGLISH_WORDS, grid_sentence, sentence_of, sentence_of_name, text_for, texts
from training.tts import (
    FLITE_VOICES,
    HELD_OUT_LANGUAGE_VOICES,
    HELD_OUT_VOICES,
    TRAIN_VOICES,
    Utterance,
    Voice,
    _with_closures,
    engine_missing,
    synthesize,
)

needs_flite = pytest.mark.skipif(bool(engine_missing("flite")), reason=engine_missing("flite") or "-")
needs_espeak = pytest.mark.skipif(bool(engine_missing("espeak")), reason=engine_missing("espeak") or "-")


def test_phones_on_the_clock():
    phones = Phones.of_ends(["pau", "b", "iy", "pau", "pau"], [0.1, 0.15, 0.3, 0.4, 0.5])
    assert phones.name == ("pau", "b", "iy", "pau")
    at = [PHONES[k] for k in phones.at(60)]
    assert at[9] == "pau" and at[10] == "b" and at[14] == "b" and at[15] == "iy" and at[30] == "pau" and at[59] == "pau"


def test_phones_refuse_gaps_and_strangers():
    with pytest.raises(ValueError, match="gaps"):
        Phones(("b", "iy"), np.array([0.0, 0.2]), np.array([0.1, 0.3]))
    with pytest.raises(ValueError, match="zz"):
        Phones.of_ends(["zz"], [1.0])


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ˈaɪ", "ay"),
        ("ɑ̃", "aa"),
        ("ɔ̃", "ao"),
        ("yː", "uw"),
        ("ø", "uh"),
        ("œ", "er"),
        ("ɯ", "ih"),
        ("x", "k"),
        ("ç", "y"),
        ("ɲ", "n"),
        ("ʎ", "l"),
        ("β", "v"),
        ("ɸ", "f"),
        ("ʁ", "g"),
        ("ɾ", "l"),
        ("tʃ", "ch"),
        ("tʲ", "t"),
        ("ts", "t s"),
        ("ɪə", "ih ax"),
        ("ː", ""),
    ],
)
def test_nearest_phone_by_lip_shape(ipa, phones):
    assert " ".join(arpabet_of(ipa)) == phones


def test_unknown_symbol_is_named():
    with pytest.raises(ValueError, match="U\\+0416"):
        arpabet_of("Ж")


def spoken(lengths_s: list[float], seed: int) -> Waveform:
    """Made-up speech: silence, sounds of these lengths, silence. A sound's timbre depends on its place; pitch and noise
    on `seed`."""
    timbre, noise = np.random.default_rng(5), np.random.default_rng(seed)
    parts = [np.zeros(int(16000 * lengths_s[0]))]
    for length_s in lengths_s[1:-1]:
        t = np.arange(int(16000 * length_s)) / 16000
        formants = timbre.uniform([250, 900, 2300], [800, 2200, 3500])
        pitch = np.arange(1, 40) * (100 + 30 * seed)
        heights = sum(np.exp(-(((pitch - f) / 150) ** 2)) / (k + 1) for k, f in enumerate(formants))
        parts.append(0.1 * timbre.uniform(0.3, 1) * (heights[:, None] * np.sin(2 * np.pi * pitch[:, None] * t)).sum(0))
    parts.append(np.zeros(int(16000 * lengths_s[-1])))
    sound = np.concatenate(parts)
    return Waveform.of((sound + 1e-3 * noise.normal(size=len(sound))).astype(np.float32))


def lengths(seed: int, lead_s: float) -> list[float]:
    return [lead_s, *np.random.default_rng(seed).uniform(0.06, 0.2, 14), 0.5]


def test_time_map_finds_where_another_voice_says_the_same():
    real_s, synthetic_s = lengths(1, 0.7), lengths(2, 0.2)
    real, synthetic = spoken(real_s, 1), spoken(synthetic_s, 2)
    rows = time_map(real, synthetic)
    assert len(rows) == len(speech_features(real)) and (np.diff(rows) >= 0).all()
    middle = lambda span: np.cumsum(span)[:-2] + np.array(span[1:-1]) / 2
    found = np.interp(middle(real_s) * 100, np.arange(len(rows)), rows) / 100
    assert np.abs(found - middle(synthetic_s)).max() < 0.05
    assert np.median(np.abs(found - middle(synthetic_s))) < 0.02


def test_time_map_of_a_recording_and_itself_delayed():
    sound = spoken(lengths(3, 0.4), 1)
    late = Waveform.of(np.concatenate([np.zeros(3200, np.float32), sound.samples.numpy()]))
    inside = slice(65, 180)
    assert np.abs(time_map(late, sound)[inside] - (np.arange(len(late.samples) // 160 + 1)[inside] - 20)).max() < 1.5


def test_phones_and_features_carried_over():
    real_s, synthetic_s = lengths(1, 0.7), lengths(2, 0.2)
    real, synthetic = spoken(real_s, 1), spoken(synthetic_s, 2)
    names = ["pau", *PHONES[1:15], "pau"]
    read = Utterance(synthetic, Phones.of_ends(names, np.cumsum(synthetic_s)), "", Voice("flite", "none"))
    other = Utterance(
        synthetic,
        Phones.of_ends(["pau", *PHONES[15:25], "pau"], np.cumsum(synthetic_s[:12])),
        "",
        Voice("flite", "none"),
    )
    carried = phones_of(real, [read, other, read])
    assert carried.name == tuple(names)
    assert np.median(np.abs(carried.end_s - np.cumsum(real_s))) < 0.02
    spec = FeatureSpec("logmel", differences=False)
    heard = speech_features(real, spec).values.numpy()
    laid = features_under(real, read, spec)
    assert laid.shape == heard.shape and laid.dtype == np.float32
    assert features_under(real, read, FeatureSpec("logmel")).shape == (len(heard), 80)
    centred = lambda x: x - x.mean(0)
    r = lambda a, b: np.corrcoef(centred(a).ravel(), centred(b).ravel())[0, 1]
    unwarped = speech_features(synthetic, spec).values.numpy()
    assert r(laid, heard) > 0.8
    assert r(unwarped[: len(heard)], heard[: len(unwarped)]) < 0.5


def test_grid_clip_names_and_alignments_agree(tmp_path):
    (tmp_path / "lgazzs.align").write_text(
        "0 9000 sil\n9000 12000 lay\n12000 15000 green\n15000 16000 at\n16000 20000 z\n"
        "20000 25000 zero\n25000 26000 sp\n26000 30000 soon\n30000 74500 sil\n"
    )
    assert sentence_of(tmp_path / "lgazzs.align") == sentence_of_name("s1/lgazzs.mpg") == "lay green at zed zero soon"
    assert sentence_of_name("brba4n") == "bin red by eigh four now"


def test_texts_are_the_same_for_a_seed():
    assert len(ENGLISH_WORDS) >= 600 and len(set(ENGLISH_WORDS)) == len(ENGLISH_WORDS)
    assert texts(["en", "de", "en"], 4) == texts(["en", "de", "en"], 4) != texts(["en", "de", "en"], 5)
    assert not any(c.isalpha() for c in text_for("fr", np.random.default_rng(0)))


def test_held_out_voices_are_not_trained_on():
    variant = lambda voice: voice.name.partition("+")[2]
    trained = {variant(voice) for voice in TRAIN_VOICES if voice.engine == "espeak"}
    assert not trained & {variant(voice) for voice in HELD_OUT_VOICES}
    assert not {voice.language for voice in TRAIN_VOICES} & {voice.language for voice in HELD_OUT_LANGUAGE_VOICES}


def same(a: Utterance, b: Utterance) -> bool:
    return a.phones.name == b.phones.name and np.array_equal(a.wave.samples, b.wave.samples)


def test_a_stop_begins_with_its_closure():
    """espeak-ng marks bursts: the silence before one belongs to the stop, and so does the end of a pause."""
    rate = 16000
    loudness = np.concatenate(
        [np.zeros(3200), np.full(1600, 0.5), np.zeros(800), np.full(800, 0.3), np.full(1600, 0.5)]
    )
    name, end = ["pau", "t", "aa", "p", "iy"], np.array([3200.0, 4000.0, 5600.0, 6400.0, 8000.0])
    moved = _with_closures(name, end, loudness, rate) / rate
    assert moved[0] == pytest.approx(0.2 - 0.055) and moved[2] == pytest.approx(0.3, abs=0.006)
    assert moved[[1, 3, 4]] * rate == pytest.approx(end[[1, 3, 4]])


@needs_espeak
def test_espeak_keeps_no_state_between_texts():
    voice, robot = Voice("espeak", "gmw/en+f2"), Voice("espeak", "roa/fr+klatt3", "fr")
    first = synthesize("bin blue", voice)
    between = synthesize("1984", robot)
    assert same(first, synthesize("bin blue", voice)) and same(between, synthesize("1984", robot))


@needs_espeak
def test_every_symbol_of_the_voices_has_a_phone():
    rng = np.random.default_rng(0)
    languages = {
        voice.name.partition("+")[0]: voice
        for voice in TRAIN_VOICES + HELD_OUT_LANGUAGE_VOICES
        if voice.engine == "espeak"
    }
    variants = {
        voice.name.partition("+")[2]: voice for voice in TRAIN_VOICES + HELD_OUT_VOICES if voice.engine == "espeak"
    }
    for voice in languages.values():
        text = (
            " ".join(ENGLISH_WORDS[::5])
            if voice.language == "en"
            else " ".join(map(str, [*range(0, 100, 3), *rng.integers(10**6, size=15)]))
        )
        utterance = synthesize(text, voice)
        assert len(utterance.phones) > 200
    for voice in variants.values():
        assert "b" in synthesize("bin blue", voice).phones.name or voice.language != "en"


@needs_espeak
def test_espeak_speed_pitch_and_silence():
    voice = Voice("espeak", "gmw/en+m1")
    plain, fast, high = (synthesize("one two three four", voice, *how) for how in ((1.0, 1.0), (1.4, 1.0), (1.0, 1.3)))
    assert len(fast.wave.samples) < 0.9 * len(plain.wave.samples) and not same(plain, high)
    first = plain.phones.end_s[0]
    loud = plain.wave.samples.abs().numpy()
    assert plain.phones.name[0] == "pau" and loud[: int(16000 * (first - 0.02))].max() < 0.02 < loud.max()


@needs_espeak
def test_missing_espeak_voice_is_named():
    from lipsync.core.errors import LipsyncError

    with pytest.raises(LipsyncError, match="gmw/xx"):
        synthesize("one", Voice("espeak", "gmw/xx"))


@needs_flite
def test_flite_says_the_letters_of_grid():
    utterance = synthesize(sentence_of_name("bgaz9s"), FLITE_VOICES[2])
    assert [n for n in utterance.phones.name if n != "pau"] == [
        "b",
        "ih",
        "n",
        "g",
        "r",
        "iy",
        "n",
        "ae",
        "t",
        "z",
        "eh",
        "d",
        "n",
        "ay",
        "n",
        "s",
        "uw",
        "n",
    ]
    assert utterance.phones.end_s[-1] == pytest.approx(len(utterance.wave.samples) / 16000)
    assert "ey" in synthesize(sentence_of_name("bgaa9s"), FLITE_VOICES[2]).phones.name
    assert len(synthesize("one two three", FLITE_VOICES[2], speed=1.4).wave.samples) < 0.9 * len(
        synthesize("one two three", FLITE_VOICES[2]).wave.samples
    )


@needs_flite
def test_one_voice_aligned_by_others():
    text = grid_sentence(np.random.default_rng(3))
    truth = synthesize(text, Voice("flite", "rms"))
    found = phones_of(truth.wave, [synthesize(text, Voice("flite", name)) for name in ("slt", "awb", "kal16")])
    spoken_ends = lambda phones: phones.end_s[[n != "pau" for n in phones.name]]
    error = np.abs(spoken_ends(found) - spoken_ends(truth.phones))
    assert np.median(error) < 0.025


def test_absent_programs_are_named(monkeypatch):
    from lipsync.core.errors import LipsyncError

    monkeypatch.setenv("PATH", "")
    with pytest.raises(LipsyncError, match="Debian package `flite`"):
        synthesize("one", FLITE_VOICES[0])
