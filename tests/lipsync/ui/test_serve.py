"""The page's server: it is built, it loads nothing from elsewhere, and it hands out only what it should."""

from __future__ import annotations

import os
import re
import time

import pytest

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.sandbox.limits import Limits
from lipsync.ui.jobs import Job, Queue, Workplace
from lipsync.ui.requests import presets
from lipsync.ui.serve import Options, _bound, read_users, serve

gradio = pytest.importorskip("gradio", reason="the extra ui is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(client, desk) of a page of which uploads may have 64 kB."""
    from fastapi.testclient import TestClient

    from lipsync.ui.page import Desk
    from lipsync.ui.serve import _keep_to_itself, build_app

    before = dict(os.environ)
    _keep_to_itself()
    place, queue = Workplace(), Queue()
    os.environ["GRADIO_TEMP_DIR"] = str(place.folder / "uploads")
    desk = Desk(queue, place, presets())
    with TestClient(build_app(desk, Options(max_upload=64_000)), base_url="http://127.0.0.1:7860") as client:
        yield client, desk
    queue.close()
    place.close()
    os.environ.clear()
    os.environ.update(before)
    assert not place.folder.exists()


def finished_job(desk, monkeypatch):
    from lipsync.ui import jobs

    monkeypatch.setattr(jobs, "_start", lambda job, command, around: os.write(around.stdout, b"{}") and 0)
    folder = desk.place.new_folder()
    (folder / "film.mp4").write_bytes(b"the film")
    (folder / "secret").write_bytes(b"no")
    job = Job("dub", "anna", "film.mp4", folder, [], Limits(1, 1), folder, {"video": "film.mp4", "report": "film.mp4"})
    desk.queue.wait(desk.queue.add(job), 20)
    return job


def test_the_page_names_no_other_host(site):
    client, _ = site
    page = client.get("/")
    assert page.status_code == 200 and "frame-ancestors 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r"""(?:src|href)=["'](?:https?:)?//([^/"']+)""", page.text)
    assert not [host for host in loaded if not host.startswith("127.0.0.1")], loaded
    config = client.get("/config").json()
    assert not config["analytics_enabled"] and len(config["components"]) > 20


def test_only_the_call_for_programs_is_public(site):
    client, _ = site
    info = client.get("/gradio_api/info").json()
    assert list(info["named_endpoints"]) == ["/dub"] and not info["unnamed_endpoints"]


def test_files_go_only_by_their_secret_name_and_use(site, monkeypatch):
    client, desk = site
    job = finished_job(desk, monkeypatch)
    found = client.get(f"/files/{job.id}/video")
    assert found.content == b"the film" and "inline" in found.headers["content-disposition"]
    assert client.get(f"/files/{job.id}/report").headers["content-security-policy"].startswith("sandbox")
    assert client.get(f"/files/{job.id}/video", headers={"Range": "bytes=4-"}).content == b"film"
    for way in ("secret", "../film.mp4", "..%2fsecret", "film.mp4", ""):
        assert client.get(f"/files/{job.id}/{way}").status_code == 404
    assert client.get("/files/x/video").status_code == 404
    desk.queue.remove(job)
    assert client.get(f"/files/{job.id}/video").status_code == 404


def test_paths_of_the_machine_and_of_other_visitors_are_not_handed_out(site, monkeypatch):
    client, desk = site
    job = finished_job(desk, monkeypatch)
    for path in ("/etc/passwd", str(job.folder / "film.mp4"), str(job.folder / "../../lock"), "../../../etc/passwd"):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404), path
    for path in ("/gradio_api/proxy=http://127.0.0.1:1/", "/monitoring", "/gradio_api/process_recording"):
        assert client.get(path).status_code == 404
    desk.queue.remove(job)


def test_a_name_that_points_at_loopback_is_refused(site):
    client, _ = site
    assert client.get("/", headers={"Host": "evil.example:7860"}).status_code == 400
    assert client.get("/theme.css", headers={"Host": "localhost:7860"}).status_code == 200


def test_large_uploads_are_refused_before_they_are_read(site, monkeypatch):
    client, desk = site
    stated = client.post("/gradio_api/upload", content=b"x", headers={"Content-Length": str(10**10)})
    assert stated.status_code == 413 and "--max-upload" in stated.text
    real = client.post("/gradio_api/upload", files={"files": ("a.mp4", bytes(100_000))})
    assert real.status_code == 413
    taken = client.post("/gradio_api/upload", files={"files": ("../../a.mp4", bytes(1000))})
    assert taken.status_code == 200 and taken.json()[0].startswith(str(desk.place.folder / "uploads"))
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("lipsync.ui.serve.shutil.disk_usage", lambda path: full)
    monkeypatch.setattr("lipsync.ui.serve.SPARE_BYTES", 10**9)
    more = client.post("/gradio_api/upload", content=bytes(1_060_000))
    assert more.status_code == 507 and "disk" in more.text
    time.sleep(0.1)
    assert len([path for path in desk.place.folder.rglob("*") if path.is_file()]) == 2  # the lock, and what was taken


def test_options_that_would_show_the_page_to_anybody_are_refused(tmp_path):
    def nothing(words):
        raise AssertionError

    with pytest.raises(UsageError, match="--auth"):
        serve(Options(listen="0.0.0.0"), nothing, nothing)
    users = tmp_path / "users"
    for text, said in (("anna\n", "line 1"), ("# nobody\n", "names nobody")):
        users.write_text(text)
        with pytest.raises(UsageError, match=said):
            read_users(users)
    users.write_text("# us\nanna:a:b\n\nben:c\n")
    assert read_users(users) == [("anna", "a:b"), ("ben", "c")]
    with _bound("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(LipsyncError, match="cannot be shown"):
            serve(Options(port=taken.getsockname()[1]), nothing, nothing)


def test_a_program_is_told_what_is_missing(site):
    client, _ = site
    answer = client.post("/gradio_api/call/dub", json={"data": [None, None, True, "", "standard", -1, True]})
    assert answer.status_code == 200
    told = client.get(f"/gradio_api/call/dub/{answer.json()['event_id']}").text
    assert "event: error" in told and "Give a target and a speech." in told
