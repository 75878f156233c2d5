"""Strangers' files: they open nothing else, and what they state is checked before memory is given to it."""

import ast
import http.server
import os
import struct
import threading
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

import media.container
from audio.load import load_speech, load_track
from lipsync.config.load import LARGEST_BYTES, load
from lipsync.config.schema import LimitsConfig
from lipsync.core.errors import UsageError
from media import MediaError
from media.container import InputLimits, open_media
from tests.support import ROOT
from video.mux import open_speech
from video.probe import probe

SOURCES = sorted(
    path for name in ("media", "audio", "video", "lipsync", "training") for path in (ROOT / name).rglob("*.py")
)
READERS = [probe, load_speech, load_track, open_speech]


def clip(path, n_frames=5, size=(64, 48), codec="libx264", pix_fmt="yuv420p"):
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for i in range(n_frames):
            out.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 40 * i, np.uint8), format="rgb24")
                )
            )
        out.mux(stream.encode(None))
    return path


# Playlists


@pytest.fixture
def server():
    """(port, addresses asked for) of a server on loopback."""
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving.server_address[1], asked
        serving.shutdown()
        thread.join()


PLAYLISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "remote.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:PORT/a.ts\n#EXT-X-ENDLIST\n",
    "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1"><BaseURL>http://127.0.0.1:PORT/a.mp4</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "call.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video PORT RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("read", READERS, ids=lambda read: f"{read.__module__}.{read.__name__}")
def test_a_playlist_opens_nothing(name, read, server, tmp_path, monkeypatch):
    port, asked = server
    clip(tmp_path / "secret.mp4")
    (tmp_path / name).write_text(PLAYLISTS[name].replace("PORT", str(port)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError) as refused:
        read(Path(name))
    assert name in str(refused.value) and not asked


def test_such_playlists_would_work(tmp_path):
    """What is refused above is really opened by FFmpeg without care."""
    clip(tmp_path / "secret.mp4")
    for name in ("concat.mp4", "list.m3u8"):
        (tmp_path / name).write_text(PLAYLISTS[name])
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video


def test_a_name_is_never_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "secret.mp4")
    for name in ("concat:secret.mp4", "file:secret.mp4", "subfile,,start,0,end,0,,:secret.mp4"):
        with pytest.raises(OSError):
            open_media(name)
    os.rename("secret.mp4", "concat:secret.mp4")
    assert len(probe("concat:secret.mp4")) == 5


def test_a_picture_of_a_numbered_name_is_itself(tmp_path):
    clip(tmp_path / "a1.png", 1, codec="png", pix_fmt="rgb24")
    (tmp_path / "a%d.png").write_bytes(b"x" * 100)
    with pytest.raises(MediaError):
        probe(tmp_path / "a%d.png")


def test_both_packages_open_the_same_formats_and_none_that_opens_others():
    assert len(set(media.container.FORMATS)) == len(media.container.FORMATS)
    opened = {
        av.format.ContainerFormat(name, "r").name for name in media.container.FORMATS
    }  # ValueError: FFmpeg knows no such format
    assert not opened & {
        "concat",
        "hls",
        "dash",
        "sdp",
        "rtsp",
        "rtp",
        "sap",
        "imf",
        "image2",
        "image2pipe",
        "lavfi",
        "vobsub",
        "webm_dash_manifest",
    }
    assert {"mov", "matroska", "avi", "wav", "flac", "mp3", "ogg", "gif", "png_pipe"} <= opened


def test_media_are_read_through_the_openers_only():
    """Save a dub's own parts and outputs."""
    loose = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "av.open" and "'w'" not in ast.unparse(node)
    ]
    allowed = ("media/container.py",)
    assert [place for place in loose if not place.startswith(allowed)] == []


def test_no_words_become_programs():
    """No shells, nothing unpickled, nothing evaluated; torch reads only numbers."""
    forbidden = {
        "os.system",
        "os.popen",
        "eval",
        "exec",
        "torch.load",
        "pickle.load",
        "pickle.loads",
        "marshal.loads",
        "yaml.load",
        "joblib.load",
    }
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                named = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert ast.unparse(node.func) not in forbidden, (path, node.lineno)
                assert named.get("shell", "False") == "False" and named.get("allow_pickle", "False") == "False", (
                    path,
                    node.lineno,
                )
                assert named.get("weights_only", "True") == "True", (path, node.lineno)


# Sizes


def png(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def gif(width, height):
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + bytes(6)
    return head + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00\x3b"


@pytest.mark.parametrize(("name", "content"), [("a.png", png(60000, 60000)), ("a.gif", gif(65535, 65535))])
def test_pictures_of_gigapixels(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=r"At most 40 megapixels are opened.*limits.megapixels=NUMBER"):
        probe(tmp_path / name)


def test_motion_jpeg_of_gigapixels(tmp_path):
    content = bytearray(clip(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p").read_bytes())
    at = content.find(b"\xff\xc0")
    while at >= 0:
        content[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
        at = content.find(b"\xff\xc0", at + 4)
    (tmp_path / "b.avi").write_bytes(content)
    with pytest.raises(MediaError, match=r"limits\.megapixels"):
        probe(tmp_path / "b.avi")


def test_the_limits_are_those_of_the_configuration(tmp_path):
    path = clip(tmp_path / "a.mp4", 25)
    assert LimitsConfig() == LimitsConfig(InputLimits().megapixels, InputLimits().frames, InputLimits().hours)
    assert load(settings=["limits.megapixels=100"]).limits.megapixels == 100
    assert len(probe(path, InputLimits(0.004, 25, 0.001))) == 25
    with pytest.raises(MediaError, match=r"a.mp4 has pictures of 64x48 pixels. At most 0.003 megapixels"):
        probe(path, InputLimits(megapixels=0.003))
    with pytest.raises(MediaError, match=r"a.mp4 has 25 frames or more. At most 24 frames"):
        probe(path, InputLimits(frames=24))
    with pytest.raises(MediaError, match=r"a.mp4 lasts 0.0002778 hours. At most 0.0002 hours"):
        probe(path, InputLimits(hours=0.0002))
    with pytest.raises(MediaError, match=r"frames or more. At most 24 frames"):
        probe(clip(tmp_path / "a.avi", 25, codec="mjpeg", pix_fmt="yuvj420p"), InputLimits(frames=24))


def test_a_few_bytes_that_state_hours(tmp_path):
    content = bytearray(clip(tmp_path / "a.mp4").read_bytes())
    at = content.find(b"stts") + 16
    content[at : at + 4] = struct.pack(">I", 0x30000000)
    (tmp_path / "b.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"hours|damaged"):
        probe(tmp_path / "b.mp4")


def wav(path, channels, rate):
    sound = bytes(64000)
    head = struct.pack(
        "<IHHIIHH", 16, 1, channels, rate, min(rate * channels * 2, 2**32 - 1), min(channels * 2, 65535), 16
    )
    path.write_bytes(
        b"RIFF"
        + struct.pack("<I", 36 + len(sound))
        + b"WAVEfmt "
        + head
        + b"data"
        + struct.pack("<I", 2**32 - 1)
        + sound
    )
    return path


@pytest.mark.parametrize(
    ("channels", "rate"),
    [(65, 16000), (1000, 16000), (32000, 16000), (0, 16000), (1, 4_000_000_000), (1, 800_000), (1, 0)],
)
def test_sound_of_absurd_channels_and_rates(channels, rate, tmp_path):
    with pytest.raises(MediaError, match=r"a\.wav"):
        load_speech(wav(tmp_path / "a.wav", channels, rate))


def test_sound_without_end(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(60 * 16000, np.int16), 16000)
    assert load_speech(tmp_path / "a.flac", InputLimits(hours=1 / 59)).duration_s == 60
    for read in (load_speech, load_track):
        with pytest.raises(MediaError, match=r"a.flac holds more than 0.01 hours of sound.*limits.hours=NUMBER"):
            read(tmp_path / "a.flac", InputLimits(hours=0.01))


def test_a_configuration_of_gigabytes(tmp_path):
    (tmp_path / "a.toml").touch()
    os.truncate(tmp_path / "a.toml", 8 << 30)
    with pytest.raises(UsageError, match=f"larger than {LARGEST_BYTES >> 20} MiB"):
        load(tmp_path / "a.toml")
