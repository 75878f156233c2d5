"""The page under abuse: it stays up, answers in sentences, leaves nothing behind, and its memory stays flat."""

from __future__ import annotations

import http.client
import json
import re
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.support import SAMPLES
from tests.support.page import running_page, until

pytest.importorskip("gradio", reason="the extra ui is not installed")
client = pytest.importorskip("gradio_client", reason="the extra ui is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with running_page(tmp_path_factory.mktemp("page"), "--max-upload", "3") as page:
        yield page


def upload(page, path: Path, name: str | None = None, size: int | None = None) -> tuple[int, str]:
    """Status and answer of an upload that is streamed; `size` says how long the request claims to be."""
    mark = "----lipsync"
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name or path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{mark}--\r\n".encode()
    connection = http.client.HTTPConnection(page.host, timeout=900)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={mark}")
    connection.putheader("Content-Length", str(size or len(head) + path.stat().st_size + len(tail)))
    connection.endheaders()
    try:
        connection.send(head)
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                connection.send(block)
        connection.send(tail)
    except OSError:  # refused before all of it was sent
        pass
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def ask(page, target: str, speech: str, preview=True, consent=True) -> str:
    """The sentence, or the files, that the call for programs answers."""
    files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in (target, speech)]
    body = json.dumps({"data": [*files, consent, "", "standard", -1, preview]}).encode()
    headers = {"Content-Type": "application/json"}
    started = json.load(urlopen(Request(f"{page.address}gradio_api/call/dub", body, headers)))
    return urlopen(f"{page.address}gradio_api/call/dub/{started['event_id']}", timeout=900).read().decode()


def is_up(page) -> bool:
    return urlopen(page.address, timeout=60).status == 200


def test_twenty_uploads_at_once(page, tmp_path):
    films = []
    for k in range(20):
        films.append(tmp_path / f"film{k}.mp4")
        films[-1].write_bytes(bytes([k]) * (20 << 20))
    before = page.memory_mib()
    with ThreadPoolExecutor(20) as visitors:
        answers = [status for status, _ in visitors.map(lambda film: upload(page, film), films)]
    assert answers == [200] * 20 and is_up(page)
    assert page.memory_mib() - before < 200  # of 400 MiB that came


def test_two_gigabytes_go_to_disk_not_to_memory(page, tmp_path):
    film = tmp_path / "empty.mp4"
    with film.open("wb") as stream:
        stream.truncate(2 << 30)
    before = page.memory_mib()
    status, text = upload(page, film)
    assert status == 200 and page.memory_mib() - before < 200
    (path,) = json.loads(text)
    speech = json.loads(upload(page, SAMPLES / "speech.wav")[1])[0]
    told = ask(page, path, speech)
    assert "event: error" in told and "empty.mp4" in told and str(page.folder) not in told
    Path(path).unlink()
    with film.open("wb") as stream:
        stream.truncate(4 << 30)
    status, text = upload(page, film)
    assert status == 413 and "--max-upload" in text and is_up(page)
    film.unlink()


def test_wrong_files_get_a_sentence(page, tmp_path):
    speech = json.loads(upload(page, SAMPLES / "speech.wav")[1])[0]
    bomb = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zeros", "w", force_zip64=True) as inside,
    ):
        for _ in range(200):
            inside.write(bytes(1 << 20))
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    page_of_html = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    page_of_html.write_text("<script>alert(1)</script>")
    for path, name in (
        (bomb, "bomb.mp4"),
        (playlist, "list.mp4"),
        (playlist, None),
        (page_of_html, None),
        (SAMPLES / "speech.wav", "a.mp4"),
    ):
        uploaded = json.loads(upload(page, path, name)[1])[0]
        told = ask(page, uploaded, speech)
        assert "event: error" in told and "Traceback" not in told, told
        assert str(page.folder) not in told and "root:" not in told
    assert is_up(page)


def test_paths_lead_nowhere(page, tmp_path):
    film = tmp_path / "film"
    film.write_bytes(b"x" * 1000)
    for name in ("../../../../tmp/x", "..\\..\\x", "/etc/cron.d/x", "a/../../b", "\u0000x", "x" * 4000):
        status, text = upload(page, film, name)
        if status == 200:
            assert json.loads(text)[0].startswith(str(page.folder / "")), text
    speech = json.loads(upload(page, SAMPLES / "speech.wav")[1])[0]
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in ("/etc/passwd", str(tmp_path / "link"), f"{page.folder}/../../etc/passwd", str(SAMPLES / "README.md")):
        told = ask(page, path, speech)
        assert "event: error" in told and "root:" not in told
        with pytest.raises(OSError, match="40[34]"):
            urlopen(f"{page.address}gradio_api/file={path}")
    assert not Path("/tmp/x").exists() and is_up(page)


def test_a_storm_of_cancels(page):
    """Many visitors queue, look and cancel through the page's own calls, as fast as they can."""
    config = json.load(urlopen(f"{page.address}config"))
    private = [one for one in config["dependencies"] if one["api_visibility"] == "private"]
    assert len(private) > 8
    before = page.memory_mib()
    target, speech = (json.loads(upload(page, SAMPLES / name)[1])[0] for name in ("target.mp4", "speech.wav"))
    with ThreadPoolExecutor(6) as visitors:
        seen = list(visitors.map(lambda k: _storm(page, private, target, speech, k), range(6)))
    assert min(seen) >= 3 and is_up(page)
    until(lambda: not [path for path in page.files() if "jobs" in path.parts], 240)
    until(lambda: page.memory_mib() - before < 150, 60)


def _storm(page, private, target, speech, k) -> int:
    """How many jobs one visitor made and cancelled."""
    cancelled = 0
    visitor = f"visitor-{k}-{'x' * 20}"
    by_target = {one["targets"][0][1] + str(one["targets"][0][0]): one for one in private if one["targets"]}
    look = next(one for name, one in by_target.items() if name.startswith("change") and len(one["inputs"]) == 3)
    cancel = next(one for name, one in by_target.items() if name.startswith("cancel"))
    remove = next(one for name, one in by_target.items() if name.startswith("remove"))
    dub = next(one for one in private if len(one["inputs"]) == 11)
    tick = next(one for name, one in by_target.items() if name.startswith("tick"))
    file = {"path": target, "orig_name": "target.mp4", "meta": {"_type": "gradio.FileData"}}
    said = {"path": speech, "orig_name": "speech.wav", "meta": {"_type": "gradio.FileData"}}
    session = f"storm{k}"
    for turn in range(4):
        _call(page, look, [visitor, None, file], session)
        values = [visitor, None, file, said, None, "", None, None, "standard", True, ""]
        _call(page, dub, values, session)
        time.sleep(0.5 * turn)
        jobs = _call(page, tick, [visitor, None], session)
        for id in set(re.findall(r'"id": ?"([\w-]{16})"', jobs)):
            _call(page, cancel, [visitor, None], session, {"id": id})
            _call(page, remove, [visitor, None], session, {"id": id})
            cancelled += 1
    _call(page, look, [visitor, None, None], session)
    for id in set(re.findall(r'"id": ?"([\w-]{16})"', _call(page, tick, [visitor, None], session + "again"))):
        _call(page, remove, [visitor, None], session, {"id": id})
    return cancelled


def _call(page, one, data, session, event=None) -> str:
    body = {"data": data, "fn_index": one["id"], "session_hash": session, "event_data": event}
    if not one["queue"]:
        request = Request(
            f"{page.address}gradio_api/run/predict", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        return urlopen(request, timeout=300).read().decode()
    request = Request(
        f"{page.address}gradio_api/queue/join", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urlopen(request, timeout=300).read()
    stream = urlopen(f"{page.address}gradio_api/queue/data?session_hash={session}", timeout=300)
    for line in stream:
        if b"process_completed" in line:
            return line.decode()
    return ""
