"""What a visitor asks for becomes a command; names and words of strangers do no harm."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.provenance.consent import consent_of
from lipsync.store.segment_file import read_cues
from lipsync.ui.requests import Wanted, dub_job, look_job, preset_label, presets


@pytest.fixture
def wanted(tmp_path):
    target, speech = tmp_path / "film.mp4", tmp_path / "words.wav"
    target.write_bytes(b"x"), speech.write_bytes(b"y")
    return Wanted(target, speech, consent=True)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def words_of(wanted, folder):
    job = dub_job(wanted, presets(), folder, "anna")
    return list(job.commands[0].words)


def test_a_preview_is_the_command_with_five_seconds(wanted, folder):
    job = dub_job(replace(wanted, preview=True), presets(), folder, "anna")
    words = list(job.commands[0].words)
    assert words[:5] == ["dub", "film.mp4", "words.wav", "-o", "film-preview.mp4"]
    assert words[words.index("--preview") + 1] == "5" and "--face" not in words and "--from" not in words
    assert job.outputs["receipt"] == "film-preview.mp4.json" and job.kind == "preview"
    assert sorted(path.name for path in folder.iterdir()) == ["film.mp4", "words.wav"]


def test_parts_are_a_span_or_segments(wanted, folder):
    one = words_of(replace(wanted, face=1, parts=[[1, 2.5, 0]]), folder)
    assert one[-6:] == ["--from", "1.000", "--to", "2.500", "--face", "0"]
    (folder / "film.mp4").unlink(), (folder / "words.wav").unlink()
    two = words_of(replace(wanted, parts=[[1, 2.5, 0], [3, 4, 2]]), folder)
    cues = read_cues(folder / two[two.index("--segments") + 1])
    assert [(float(cue.start_s), float(cue.end_s), cue.label, cue.speech) for cue in cues] == [
        (1, 2.5, "0", None),
        (3, 4, "2", None),
    ]


@pytest.mark.parametrize("parts", [[[1]], [["a", 2, 0]], [[1, float("nan"), 0]], [None], [[0, 1, 0]] * 201])
def test_parts_that_are_none_are_refused_in_a_sentence(wanted, folder, parts):
    with pytest.raises(UsageError):
        dub_job(replace(wanted, parts=parts), presets(), folder, "anna")


def test_nothing_is_made_without_consent(wanted, folder):
    with pytest.raises(UsageError, match="Tick the box"):
        dub_job(replace(wanted, consent=False), presets(), folder, "anna")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("said", ["/etc/passwd", "passwd.txt", "", "film.mp4", "--no-mark"])
def test_consent_is_never_taken_for_a_file(wanted, folder, said, monkeypatch):
    words = words_of(replace(wanted, agreed=said), folder)
    monkeypatch.chdir(folder)
    assert set(consent_of(words[words.index("--consent") + 1])) == {"text"}


@pytest.mark.parametrize(
    "name", ["-o", "..", "--force.mp4", "a/../b", "x\n\x1b[2J.mp4", "é" * 300 + ".mp4", " ", "$(ls)"]
)
def test_names_are_made_harmless(tmp_path, folder, name):
    try:
        path = tmp_path / name.replace("/", "_")
        path.write_bytes(b"x")
    except OSError:
        path = tmp_path / "plain"
        path.write_bytes(b"x")
    job = look_job(path, folder, "anna")
    (found,) = folder.iterdir()
    assert found.name == job.name == job.commands[0].words[1]
    assert not found.name.startswith(("-", ".")) and found.name.isprintable() and "/" not in found.name


def test_links_are_not_followed(tmp_path, folder):
    (tmp_path / "link.mp4").symlink_to("/etc/passwd")
    with pytest.raises(LipsyncError, match="did not arrive"):
        look_job(tmp_path / "link.mp4", folder, "anna")


def test_presets_are_files_of_the_config(tmp_path):
    assert next(iter(presets())) == "standard" and {"small", "editing", "labelled"} <= set(presets())
    (tmp_path / "mine.toml").write_text("# Ours.\n[write]\ncrf = 30\n")
    assert preset_label("mine", presets(tmp_path)["mine"]) == "mine: Ours."
    (tmp_path / "bad.toml").write_text("[write]\ncrff = 30\n")
    with pytest.raises(UsageError, match="crff"):
        presets(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        presets(tmp_path / "none")


def test_prores_gets_its_container(wanted, folder):
    assert dub_job(replace(wanted, preset="editing"), presets(), folder, "anna").name == "film-dubbed.mov"
    with pytest.raises(UsageError, match="no preset"):
        dub_job(replace(wanted, preset="../../etc/passwd"), presets(), folder, "anna")


def test_a_synthesiser_is_given_the_text_by_a_file(tmp_path, monkeypatch):
    from lipsync.ui import speak

    program = tmp_path / "bin" / "flite"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = -lv ]; then echo "Voices available: kal slt"; exit; fi\n[ "$2" = slt ] && cp "$4" "$6"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(speak, "_LIST", {"flite": ["-lv"]})
    speak.voices.cache_clear()
    try:
        assert speak.voices() == ("flite kal", "flite slt")
        speak.speak("--help  me", "flite slt", tmp_path / "out.wav")
        assert (tmp_path / "out.wav").read_text() == "--help me" and not (tmp_path / "out.txt").exists()
        for text, voice, said in (
            ("", "flite slt", "nothing to say"),
            ("a" * 5001, "flite slt", "5001"),
            ("a", "x", "voice"),
        ):
            with pytest.raises(UsageError, match=said):
                speak.speak(text, voice, tmp_path / "o.wav")
        with pytest.raises(LipsyncError, match="could not say"):
            speak.speak("a", "flite kal", tmp_path / "o.wav")
    finally:
        speak.voices.cache_clear()
    assert Path(tmp_path / "out.wav").exists()
