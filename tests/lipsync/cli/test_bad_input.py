"""Bad input through the real command line: one clear sentence, the right exit status, no traceback, nothing left
behind."""

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from lipsync.cli.app import app
from tests.support import ROOT

RATE = 16000


def write_video(path, n_frames=25, size=(96, 128)):
    """A video without a face: a moving ramp."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for i in range(n_frames):
            ramp = (np.arange(size[1])[None, :, None] + 3 * i + np.zeros((size[0], 1, 3))).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, format="rgb24")))
        out.mux(stream.encode(None))


def tone(seconds=1.0, rate=RATE, channels=1):
    """Something that sounds a little like speech: a buzz that comes and goes."""
    t = np.arange(round(seconds * rate)) / rate
    buzz = 0.3 * np.sign(np.sin(2 * np.pi * 120 * t)) * (np.sin(2 * np.pi * 3 * t) > 0)
    return np.repeat(buzz[:, None], channels, 1)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A folder with a faceless target.mp4 and a good speech.wav."""
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "target.mp4")
    soundfile.write(folder / "speech.wav", tone(), RATE)
    return folder


@pytest.fixture
def place(media, tmp_path, monkeypatch):
    """A fresh working folder with copies of both, and a cache elsewhere."""
    work = tmp_path / "work"
    work.mkdir()
    for name in ("target.mp4", "speech.wav"):
        (work / name).write_bytes((media / name).read_bytes())
    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(work)
    return work


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(place, *args, words=(), status=3):
    """Runs `lipsync *args -q`, expects a refusal whose one sentence holds all `words`, and the folder as it was."""
    before = tree(place)
    result = CliRunner().invoke(app, [*(str(a) for a in args), "-q"])
    assert result.exit_code == status, f"{result.exit_code}: {result.output}\n{result.exception!r}"
    assert result.stdout == "" and result.stderr.count("\n") == 1 and result.stderr.startswith("lipsync: "), (
        result.output
    )
    sentence = result.stderr.removeprefix("lipsync: ").strip()
    assert sentence.endswith((".", "?")) and len(sentence) < 400 and sentence.count(". ") <= 3, sentence
    for word in words:
        assert str(word) in sentence, sentence
    assert tree(place) == before
    cache = Path(os.environ["LIPSYNC_CACHE"])
    assert not [p for p in cache.rglob("*") if ".part" in p.name]
    return sentence


def dub(place, target="target.mp4", speech="speech.wav", out="out.mp4", *more, **expected):
    return refused(place, "dub", target, speech, "-o", out, *more, **expected)


# The target


@pytest.mark.parametrize(
    "command",
    [
        ("dub", "none.mp4", "speech.wav", "-o", "out.mp4"),
        ("analyse", "none.mp4"),
        ("evaluate", "target.mp4", "none.mp4"),
    ],
)
def test_missing_video(place, command):
    before = tree(place)
    result = CliRunner().invoke(app, list(command))
    assert (
        result.exit_code == 3
        and "none.mp4 does not exist" in result.stderr
        and result.stderr.count("\n") == 1
        and tree(place) == before
    )


def test_missing_footage(place):
    dub(
        place, "target.mp4", "speech.wav", "out.mp4", "--footage", "none.mp4", words=["footage none.mp4 does not exist"]
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_target(place):
    (place / "target.mp4").chmod(0)
    dub(place, words=["target.mp4", "cannot be read"])


def test_folder_as_target(place):
    (place / "folder").mkdir()
    dub(place, "folder", words=["folder", "is a folder"])


def test_empty_file_as_target(place):
    (place / "zero.mp4").write_bytes(b"")
    dub(place, "zero.mp4", words=["zero.mp4", "empty"])


def test_text_as_target(place):
    (place / "text.mp4").write_text("not a video\n" * 100)
    dub(place, "text.mp4", words=["text.mp4"])


def test_sound_as_target(place):
    dub(place, "speech.wav", "speech.wav", words=["speech.wav", "no picture"])


def test_target_and_speech_swapped(place):
    for film in ("target.mp4", "with sound.mp4"):
        if film != "target.mp4":
            write_video(place / "with sound.mp4")
        dub(place, "speech.wav", film, words=["Did you mean", f"lipsync dub {film} speech.wav?"])


def test_photo_as_target(place):
    write_video(place / "photo.mp4", 1)
    dub(place, "photo.mp4", words=["photo.mp4 is one picture", "one mouth shape"])


def test_truncated_target(place):
    whole = (place / "target.mp4").read_bytes()
    (place / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    dub(place, "cut.mp4", words=["cut.mp4"])


def test_target_with_damaged_pictures(place):
    whole = bytearray((place / "target.mp4").read_bytes())
    start = whole.index(b"mdat") + 200
    whole[start : start + 2000] = bytes(2000)
    (place / "hurt.mp4").write_bytes(whole)
    dub(place, "hurt.mp4", words=["hurt.mp4"])


def test_target_without_a_face(place):
    dub(place, words=["target.mp4", "ace"])


def test_one_frame_without_a_face(place):
    write_video(place / "one.mp4", 1)
    dub(place, "one.mp4", words=["one.mp4"])


# The speech


def test_missing_speech(place):
    dub(place, "target.mp4", "none.wav", words=["none.wav does not exist"])


def test_empty_file_as_speech(place):
    (place / "zero.wav").write_bytes(b"")
    dub(place, "target.mp4", "zero.wav", words=["zero.wav", "empty"])


def test_speech_without_samples(place):
    soundfile.write(place / "none.wav", np.zeros((0, 1)), RATE)
    dub(place, "target.mp4", "none.wav", words=["none.wav"])


def test_noise_bytes_as_speech(place):
    (place / "broken.wav").write_bytes(np.random.default_rng(0).bytes(5000))
    dub(place, "target.mp4", "broken.wav", words=["broken.wav"])


def test_video_without_sound_as_speech(place):
    dub(place, "target.mp4", "target.mp4", words=["target.mp4 has no"])


def test_folder_as_speech(place):
    dub(place, "target.mp4", place, words=["is a folder"])


# The output


def test_output_is_the_target(place):
    dub(place, "target.mp4", "speech.wav", "./target.mp4", "--force", words=["target.mp4", "-o"])


def test_output_is_the_speech_by_another_name(place):
    (place / "link.mp4").symlink_to(place / "speech.wav")
    dub(place, "target.mp4", "speech.wav", "link.mp4", "--force", words=["link.mp4", "-o"])


def test_output_is_the_footage(place):
    (place / "more.mp4").write_bytes((place / "target.mp4").read_bytes())
    dub(place, "target.mp4", "speech.wav", "more.mp4", "--footage", "more.mp4", "--force", words=["more.mp4", "-o"])


def test_receipt_would_replace_an_input(place):
    (place / "out.mp4.json").write_bytes((place / "speech.wav").read_bytes())
    dub(place, "target.mp4", "out.mp4.json", "out.mp4", "--force", words=["out.mp4.json", "-o"])


def test_output_exists(place):
    (place / "out.mp4").write_text("precious")
    dub(place, words=["out.mp4", "--force"])
    assert (place / "out.mp4").read_text() == "precious"


def test_output_folder_is_missing(place):
    dub(place, "target.mp4", "speech.wav", "none/out.mp4", words=["folder none does not exist", "Create it"])


def test_output_is_a_folder(place):
    dub(place, "target.mp4", "speech.wav", place, words=["is a folder"])


def test_output_folder_cannot_be_written(place):
    folder = "/proc" if Path("/proc").is_dir() else "/"
    dub(place, "target.mp4", "speech.wav", f"{folder}/lipsync-out.mp4", words=["cannot be written", "-o"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_output_folder_without_permission(place):
    (place / "locked").mkdir(mode=0o500)
    dub(place, "target.mp4", "speech.wav", "locked/out.mp4", words=["locked", "cannot be written"])


def test_failing_dub_keeps_the_old_output(place):
    (place / "out.mp4").write_text("precious")
    dub(place, "target.mp4", "speech.wav", "out.mp4", "--force")
    assert (place / "out.mp4").read_text() == "precious"


def test_cache_folder_cannot_be_written(place):
    dub(
        place,
        "target.mp4",
        "speech.wav",
        "out.mp4",
        "--set",
        "cache.folder=/dev/null/cache",
        words=["/dev/null/cache", "LIPSYNC_CACHE"],
    )


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--texture", "medain"], ["'medain'", "'median'"]),
        (["--set", "write.crff=3"], ["'write.crff'", "'write.crf'"]),
        (["--set", "texure=median"], ["'texture'"]),
        (["--set", "write.crf=sharp"], ["write.crf", "whole number", "'sharp'"]),
        (["--length", "lop"], ["'loop'"]),
        (["--device", "gpu"], ["'gpu'", "cuda:N"]),
        (["--config", "none.toml"], ["none.toml"]),
    ],
)
def test_wrong_options(place, options, words):
    dub(place, "target.mp4", "speech.wav", "out.mp4", *options, words=words, status=2)


def test_missing_texture_file(place):
    dub(place, "target.mp4", "speech.wav", "out.mp4", "--texture", "mine.py", words=["mine.py", "does not exist"])


def test_device_that_is_not_there(place):
    dub(place, "target.mp4", "speech.wav", "out.mp4", "--device", "cuda:99", words=["cuda:99"])


# Names, through a real process: what it writes to standard error is all a user sees

ODD_NAMES = ["with space", "two.dots.in it", "quo'te", 'dou"ble', "naïve-日本語", "-dash", "a%d", "x;y&z", "new#tag?"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_named_rightly(place, name):
    folder = place / name
    folder.mkdir()
    (folder / f"{name}.mp4").write_bytes((place / "target.mp4").read_bytes())
    dub(place, folder / f"{name}.mp4", words=[f"{name}.mp4", "ace"])
    (folder / f"{name}.wav").write_bytes(b"nothing but noise")
    dub(place, "target.mp4", folder / f"{name}.wav", words=[f"{name}.wav"])


def process(place, *args):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "lipsync", *args], cwd=place, env=env, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("target", "speech", "status"),
    [("none.mp4", "speech.wav", 3), ("cut.mp4", "speech.wav", 3), ("target.mp4", "speech.wav", 3)],
)
def test_a_real_process_says_one_sentence(place, target, speech, status):
    whole = (place / "target.mp4").read_bytes()
    (place / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    before = tree(place)
    result = process(place, "dub", target, speech, "-o", "out.mp4", "-q")
    assert result.returncode == status and result.stdout == ""
    assert result.stderr.startswith("lipsync: ") and result.stderr.count("\n") == 1, result.stderr
    assert tree(place) == before


# With a face: what must work in spite of its looks, and what must stop cleanly

SAMPLE = ROOT / "samples" / "target.mp4"
QUICK = ["--set", "lips.network=paper", "--set", "lips.members=1", "--set", "lips.steps=5", "--device", "cpu"]
N_FACE, FPS = 125, 25


@pytest.fixture(scope="module")
def face_media(tmp_path_factory):
    """(folder, cache): face.mp4, five seconds of the presenter at half size with her speech; one cache for all tests
    that use it."""
    if not SAMPLE.is_file():
        pytest.skip("samples/target.mp4 is not there")
    folder = tmp_path_factory.mktemp("face")
    with (
        av.open(str(SAMPLE)) as source,
        av.open(str(folder / "face.mp4"), "w", options={"movflags": "+faststart"}) as out,
    ):
        picture = out.add_stream("libx264", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = 640, 360, "yuv420p"
        sound = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None and packet.pts * packet.time_base < N_FACE / FPS:
                packet.stream = sound
                out.mux(packet)
        source.seek(0)
        for i, frame in zip(range(N_FACE), source.decode(video=0), strict=False):
            small = frame.reformat(640, 360, "yuv420p")
            small.pts, small.time_base = i, Fraction(1, FPS)
            out.mux(picture.encode(small))
        out.mux(picture.encode(None))
    return folder, tmp_path_factory.mktemp("cache")


@pytest.fixture
def face(face_media, place, monkeypatch):
    """The working folder of `place`, with face.mp4."""
    folder, cache = face_media
    monkeypatch.setenv("LIPSYNC_CACHE", str(cache))
    (place / "face.mp4").write_bytes((folder / "face.mp4").read_bytes())
    return place


def worked(place, target, speech, out, *more, n_frames):
    """Dubs, and expects `n_frames` pictures in `out` and nothing else new but the receipt."""
    before = set(tree(place))
    result = CliRunner().invoke(app, ["dub", str(target), str(speech), "-o", str(out), *QUICK, *more, "-q"])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    new = set(tree(place)) - before
    assert {Path(name).name for name in new} == {Path(out).name, Path(out).name + ".json"}
    with av.open(str(out)) as made:
        assert sum(1 for _ in made.decode(video=0)) == n_frames
        assert made.streams.audio


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [(RATE, 1, "PCM_U8"), (96000, 2, "PCM_24"), (48000, 6, "PCM_16"), (8000, 1, "ULAW"), (44100, 1, "FLOAT")],
)
def test_unusual_speech_works(face, rate, channels, subtype):
    soundfile.write(face / "odd.wav", tone(0.4, rate, channels), rate, subtype=subtype)
    worked(face, "face.mp4", "odd.wav", "out.mp4", n_frames=10)


def test_silent_speech_works(face):
    soundfile.write(face / "silent.wav", np.zeros(RATE // 2), RATE)
    worked(face, "face.mp4", "silent.wav", "out.mp4", n_frames=12)


def test_speech_from_a_video_works(face):
    worked(face, "face.mp4", "face.mp4", "out.mp4", "--preview", "0.4", n_frames=10)


def test_odd_names_work(face):
    name = "a b.c 'd' \"e\" ñ日本 #%d;&"
    folder = face / name
    folder.mkdir()
    (folder / f"{name}.mp4").write_bytes((face / "face.mp4").read_bytes())
    soundfile.write(folder / f"{name}.wav", tone(0.4), RATE)
    worked(face, folder / f"{name}.mp4", folder / f"{name}.wav", folder / f"{name} out.mp4", n_frames=10)


def test_one_frame_with_a_face_ends_cleanly(face):
    with av.open(str(face / "face.mp4")) as source, av.open(str(face / "one.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        frame = next(source.decode(video=0))
        frame.pts, frame.time_base = 0, Fraction(1, FPS)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    dub(face, "one.mp4", "speech.wav", "out.mp4", *QUICK, words=["one.mp4"])


def test_target_cut_off_in_the_middle_ends_cleanly(face):
    whole = (face / "face.mp4").read_bytes()
    (face / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    before = set(tree(face))
    result = CliRunner().invoke(app, ["dub", "cut.mp4", "speech.wav", "-o", "out.mp4", *QUICK, "-q"])
    assert result.exit_code in (0, 3) and not isinstance(result.exception, Exception), (
        f"{result.output}\n{result.exception!r}"
    )
    assert set(tree(face)) - before == (set() if result.exit_code else {"out.mp4", "out.mp4.json"})


def test_extension_that_cannot_be_written(face):
    dub(face, "face.mp4", "speech.wav", "out.xyz", *QUICK, words=["out.xyz"])


@pytest.mark.parametrize(
    "setting,words",
    [
        ("write.codec=h266", ["write.codec", "'h266'", "hevc"]),
        ("write.preset=warp", ["out.mp4", "write.preset", "'warp'", "veryfast"]),
        ("write.crf=60", ["write.crf", "51"]),
    ],
)
def test_encoder_settings_that_do_not_exist(face, setting, words):
    dub(face, "face.mp4", "speech.wav", "out.mp4", *QUICK, "--set", setting, words=words)


def test_ctrl_c_leaves_nothing(face, face_media):
    soundfile.write(face / "long.wav", tone(20), RATE)
    before = tree(face)
    command = [sys.executable, "-m", "lipsync", "dub", "face.mp4", "long.wav", "-o", "out.mp4", *QUICK, "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LIPSYNC_CACHE": str(face_media[1])}
    with subprocess.Popen(
        command, cwd=face, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        for line in running.stderr:
            if '"step": "dub"' in line:
                break
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read().splitlines()
    assert running.returncode == 130 and rest[-1] == "lipsync: interrupted; nothing was written.", rest
    assert tree(face) == before
