"""Inputs, outputs and analyses in a store: complete or absent, fetched once, and a store that fails says so in one
sentence."""

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
from pathlib import Path

import pytest

from lipsync.batch.storage import address
from lipsync.batch.storage.address import RemoteFile, content_id, fetched, is_url, redacted
from lipsync.batch.storage.archive import DamagedArchive, pack, unpack
from lipsync.batch.storage.shared_cache import SharedCache, cache_for
from lipsync.batch.storage.store import OutputStore
from lipsync.config.schema import CacheConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.store.cache import Cache, content_hash
from lipsync.store.receipt import Output, Receipt

fsspec = pytest.importorskip("fsspec", reason="the extra `cluster` is not installed")


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    """An empty store's address, with one that outlives file system objects and one that does not even have folders."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    return "memory://store" if request.param == "memory" else f"file://{tmp_path}/a store"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(address, "PAUSES_S", (0.0, 0.0, 0.0))


def put(url, content):
    with fsspec.open(url, "wb", auto_mkdir=True) if url.startswith("file") else fsspec.open(url, "wb") as stream:
        stream.write(content)


def get(url):
    with fsspec.open(url, "rb") as stream:
        return stream.read()


def names(url):
    fs, path = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return sorted(name.removeprefix(path).lstrip("/") for name in fs.find(path))


@pytest.mark.parametrize(
    ("name", "remote"),
    [
        ("s3://b/a.mp4", True),
        ("https://h/a?x=1", True),
        ("a.mp4", False),
        ("/a/b://c", False),
        ("C:\\a.mp4", False),
        ("C://a", False),
        ("simplecache::s3://b/a", False),
    ],
)
def test_what_is_an_address(name, remote):
    assert is_url(name) is remote


def test_no_secret_is_redacted():
    assert (
        redacted("https://user:secret@host/a/b.mp4?X-Amz-Signature=secret#x") == "https://host/a/b.mp4"
        and redacted("a@b?c") == "a@b?c"
    )


def test_a_path_stays_a_path(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"abc")
    assert fetched(tmp_path / "a.wav", tmp_path / "copies") == tmp_path / "a.wav" and not (tmp_path / "copies").exists()
    assert content_id(tmp_path / "a.wav") == content_hash(tmp_path / "a.wav")


def test_fetched_once_for_each_content(url, tmp_path, monkeypatch):
    put(f"{url}/in/the clip.mp4", b"one")
    copy = fetched(f"{url}/in/the clip.mp4", tmp_path / "copies")
    assert copy.name == "the clip.mp4" and copy.read_bytes() == b"one"
    monkeypatch.setattr(RemoteFile, "get", lambda *_: pytest.fail("fetched twice"))
    assert fetched(f"{url}/in/the clip.mp4", tmp_path / "copies") == copy
    monkeypatch.undo()
    put(f"{url}/in/the clip.mp4", b"other")
    assert (
        fetched(f"{url}/in/the clip.mp4", tmp_path / "copies").read_bytes() == b"other" and copy.read_bytes() == b"one"
    )


def test_a_mark_is_the_content_where_the_store_has_no_checksum(url, tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    put(f"{url}/a", b"abc" * 1000)
    assert content_id(f"{url}/a") == content_hash(tmp_path / "a")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"ETag": '"a"', "size": 1}, {"ETag": '"a"', "size": 1, "mtime": 5}, True),
        ({"ETag": '"a"', "size": 1}, {"ETag": '"b"', "size": 1}, False),
        ({"etag": "a", "size": 1}, {"etag": "a", "size": 2}, False),
        ({"md5Hash": "a", "etag": "x"}, {"md5Hash": "a", "etag": "y"}, True),
    ],
)
def test_a_mark_is_the_stores_checksum_where_it_has_one(first, second, same, monkeypatch):
    def of(facts):
        monkeypatch.setattr(RemoteFile, "facts", lambda self, missing_ok=False: facts)
        monkeypatch.setattr(RemoteFile, "sha256", lambda self: pytest.fail("the content was read"))
        return content_id("memory://a")

    assert (of(first) == of(second)) is same


def test_a_weak_etag_does_not_count(monkeypatch):
    put("memory://a", b"abc")
    monkeypatch.setattr(RemoteFile, "facts", lambda self, missing_ok=False: {"ETag": 'W/"a"', "size": 3})
    assert content_id("memory://a") == content_hash_of(b"abc")


def content_hash_of(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("{url}/nothing.mp4", LipsyncError, "nothing.mp4 does not exist. Check the address."),
        ("{url}/in", LipsyncError, "is a folder. Name the file itself."),
        ("nope://u:secret@x/y", UsageError, "nope://x/y is not an address that fsspec knows"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(url, tmp_path, name, error, sentence):
    put(f"{url}/in/a.mp4", b"one")
    for use in (content_id, lambda at: fetched(at, tmp_path / "copies")):
        with pytest.raises(error) as caught:
            use(name.format(url=url))
        assert sentence in str(caught.value) and "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "copies").exists()


def test_a_short_download_is_tried_again_then_told(tmp_path, monkeypatch):
    put("memory://a.mp4", b"whole")
    fs = type(fsspec.filesystem("memory"))
    real, calls = fs.get_file, []

    def short(self, path, local, **options):
        calls.append(path)
        if len(calls) % 2:
            with open(local, "wb") as file:
                file.write(b"who")
        else:
            real(self, path, local, **options)

    monkeypatch.setattr(fs, "get_file", short)
    assert fetched("memory://a.mp4", tmp_path / "a").read_bytes() == b"whole" and len(calls) == 2
    monkeypatch.setattr(fs, "get_file", lambda self, path, local, **options: Path(local).write_bytes(b"who"))
    with pytest.raises(LipsyncError, match=r"could not be read: 3 of 5 bytes arrived. Check the network"):
        fetched("memory://a.mp4", tmp_path / "b")
    assert [file for file in (tmp_path / "b").rglob("*") if file.is_file()] == []


def test_over_http(tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec needs aiohttp for http")
    (tmp_path / "www").mkdir()
    (tmp_path / "www/a clip.wav").write_bytes(b"RIFF" * 5000)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "www"))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        copy = fetched(f"{base}/a%20clip.wav?token=secret", tmp_path / "copies")
        assert copy.name == "a clip.wav" and copy.read_bytes() == b"RIFF" * 5000
        assert content_id(f"{base}/a%20clip.wav") == content_hash(copy)
        with pytest.raises(LipsyncError, match=r"b.wav does not exist"):
            fetched(f"{base}/b.wav", tmp_path / "copies")
        server.shutdown()


def render(store, out, content=b"video"):
    work = store.workfile(out)
    work.write_bytes(content)
    work.with_name(work.name + ".json").write_text(json.dumps({"output": {"bytes": len(content)}}))
    return work


def test_a_local_place_is_the_folder_itself(tmp_path):
    store = OutputStore(tmp_path / "outs")
    assert store.workfile("a/b.mp4") == tmp_path / "outs/a/b.mp4" and (tmp_path / "outs/a").is_dir()
    assert store.receipt_of("a/b.mp4") is None and store.size_of("a/b.mp4") is None
    store.keep(render(store, "a/b.mp4"), "a/b.mp4")
    assert store.receipt_of("a/b.mp4") == Receipt(output=Output(bytes=5)) and store.size_of("a/b.mp4") == 5


def test_a_video_is_kept_at_an_address_and_found_again(url, tmp_path):
    store = OutputStore(url + "/", tmp_path / "scratch")
    assert store.receipt_of("a/b c.mp4") is None and store.size_of("a/b c.mp4") is None
    work = render(store, "a/b c.mp4")
    assert work == OutputStore(url, tmp_path / "scratch").workfile("a/b c.mp4") and work.is_relative_to(
        tmp_path / "scratch"
    )
    store.keep(work, "a/b c.mp4")
    assert names(url) == ["a/b c.mp4", "a/b c.mp4.json"] and get(f"{url}/a/b c.mp4") == b"video"
    assert (
        OutputStore(url).receipt_of("a/b c.mp4") == Receipt(output=Output(bytes=5))
        and OutputStore(url).size_of("a/b c.mp4") == 5
    )
    assert [file for file in (tmp_path / "scratch").rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_receipt_is_none(url, tmp_path, damage):
    for store in (OutputStore(url, tmp_path / "scratch"), OutputStore(tmp_path / "outs")):
        store.workfile("a.mp4")
        put(f"{store.root}/a.mp4.json" if store.is_remote else f"file://{store.root}/a.mp4.json", damage)
        assert store.receipt_of("a.mp4") is None


def test_no_receipt_before_its_video_is_complete(url, tmp_path, monkeypatch):
    """At every step of replacing a video, also one that fails, whoever finds a receipt finds the video that it
    describes."""
    store, seen = OutputStore(url, tmp_path / "scratch"), []
    store.keep(render(store, "a.mp4", b"old"), "a.mp4")
    fs = type(fsspec.core.url_to_fs(url)[0])
    real = fs.put_file

    def check():
        receipt = store.receipt_of("a.mp4")
        seen.append(receipt)
        assert receipt is None or receipt.output.bytes == store.size_of("a.mp4")

    def slowly(self, local, path, **options):
        check()
        put(f"{url}/{path.rpartition('/')[2]}", b"ha")
        if path.endswith(".mp4"):
            check()
        real(self, local, path, **options)

    monkeypatch.setattr(fs, "put_file", slowly)
    store.keep(render(store, "a.mp4", b"newer"), "a.mp4")
    assert seen == [None, None, None] and store.receipt_of("a.mp4") == Receipt(output=Output(bytes=5))

    monkeypatch.setattr(fs, "put_file", lambda self, local, path, **options: put(f"{url}/a.mp4", b"ha"))
    work = render(store, "a.mp4", b"newest")
    with pytest.raises(LipsyncError, match=r"a.mp4 could not be written: 2 of 6 bytes arrived"):
        store.keep(work, "a.mp4")
    assert store.receipt_of("a.mp4") is None and work.read_bytes() == b"newest"


def write(text, made=None):
    def make(folder):
        if made is not None:
            made.append(text)
        (folder / "deep").mkdir()
        (folder / "x.txt").write_text(text)
        (folder / "deep/y.npy").write_bytes(text.encode() * 1000)

    return make


def test_what_one_machine_made_another_finds(url, tmp_path):
    made = []
    one, two = SharedCache(tmp_path / "one", url + "/cache"), SharedCache(tmp_path / "two", url + "/cache/")
    first = one.get_or_make("faces", "k", write("one", made), label="clip")
    second = two.get_or_make("faces", "k", write("two", made), label="clip")
    assert made == ["one"] and first != second
    for name in ("x.txt", "deep/y.npy"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert [(entry.step, entry.label) for entry in two.entries()] == [("faces", "clip")]
    assert names(url) == ["cache/faces/k.tar"]
    assert two.get_or_make("faces", "k", write("three", made)) == second and made == ["one"]


def test_a_local_result_is_offered_once(url, tmp_path):
    Cache(tmp_path / "one").get_or_make("faces", "k", write("one"))
    cache = SharedCache(tmp_path / "one", url)
    cache.get_or_make("faces", "k", write("never"))
    assert names(url) == ["faces/k.tar"]
    assert (SharedCache(tmp_path / "two", url).get_or_make("faces", "k", write("two")) / "x.txt").read_text() == "one"


def damages():
    """Names and what becomes of an archive's bytes."""

    def member(name, content=b"x", **more):
        def add(archive):
            stream = io.BytesIO(archive)
            with tarfile.open(fileobj=stream, mode="a") as tar:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                for key, value in more.items():
                    setattr(info, key, value)
                tar.addfile(info, io.BytesIO(content))
            return stream.getvalue()

        return add

    def digests(text):
        def make(archive):
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as tar:
                info = tarfile.TarInfo("digests.json")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
            return stream.getvalue()

        return make

    yield "empty", lambda archive: b""
    yield "cut short", lambda archive: archive[: len(archive) // 2]
    yield "cut at a file's end", lambda archive: archive[: 512 * 6]
    yield "a byte changed", lambda archive: archive[:2600] + b"?" + archive[2601:]
    yield "noise", lambda archive: bytes(range(256)) * 50
    yield "surplus", member("more.txt")
    yield "upwards", member("../escaped.txt")
    yield "absolute", member("/tmp/escaped.txt")
    yield "a link", member("x2.txt", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    yield "digests of another kind", digests(b"[1, 2]")
    yield "digests that are no JSON", digests(b"{")
    yield "digests of missing files", digests(b'{"result": "faces/k", "files": {"a": [1, ""]}}')
    yield "of another result", lambda archive: archive.replace(b'"faces/k"', b'"faces/j"')


@pytest.mark.parametrize(("damage"), [pytest.param(make, id=name) for name, make in damages()])
def test_a_damaged_archive_is_made_again_and_replaced(url, tmp_path, damage):
    SharedCache(tmp_path / "one", url).get_or_make("faces", "k", write("one"))
    good = get(f"{url}/faces/k.tar")
    bad = damage(good)
    assert bad != good
    put(f"{url}/faces/k.tar", bad)
    made = []
    folder = SharedCache(tmp_path / "two", url).get_or_make("faces", "k", write("one", made))
    assert made == ["one"] and sorted(p.name for p in folder.rglob("*") if p.is_file()) == [
        "entry.json",
        "x.txt",
        "y.npy",
    ]
    assert get(f"{url}/faces/k.tar") == good and not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "a//b", "./x", "..", "C:x", "a\\b", "entry.json", "a/.", "x\n"]
)
def test_an_archive_stays_in_its_folder(tmp_path, name):
    stream, text = io.BytesIO(), json.dumps({"result": "a/k", "files": {name: [1, content_hash_of(b"x")]}}).encode()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member, content in (("digests.json", text), (name, b"x")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    stream.seek(0)
    (tmp_path / "in").mkdir()
    with pytest.raises(DamagedArchive):
        unpack(stream, tmp_path / "in", "a/k")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_archives_of_the_same_content_are_the_same(tmp_path):
    packed = []
    for name in "ab":
        (tmp_path / name).mkdir()
        write("one")(tmp_path / name)
        packed.append(io.BytesIO())
        pack(tmp_path / name, packed[-1], "a/k")
    assert packed[0].getvalue() == packed[1].getvalue()


def test_nothing_stays_after_a_failure_to_make(url, tmp_path):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        SharedCache(tmp_path, url).get_or_make("faces", "k", fail)
    assert names(url) == [] and [p for p in tmp_path.rglob("*") if p.name == "half.txt"] == []


def test_a_store_that_fails_is_tried_again_then_told(tmp_path, monkeypatch):
    fsspec.filesystem("memory").store.clear()
    fs = type(fsspec.filesystem("memory"))
    real, failures = fs._open, [ConnectionError("the line\nis dead"), TimeoutError()]

    def fail(self, *args, **options):
        if failures:
            raise failures.pop()
        return real(self, *args, **options)

    monkeypatch.setattr(fs, "_open", fail)
    assert (
        SharedCache(tmp_path / "one", "memory://c").get_or_make("faces", "k", write("one")) / "x.txt"
    ).read_text() == "one"
    failures += [ConnectionError("the line\nis dead")] * 9
    with pytest.raises(
        LipsyncError,
        match=r"k.tar could not be read: the line is dead. Check the network, free space, and the store's cred",
    ):
        SharedCache(tmp_path / "two", "memory://c").get_or_make("faces", "k", write("two"))
    assert [p for p in (tmp_path / "two").rglob("*") if p.is_file()] == []
    failures[:] = [PermissionError("no")] * 9
    with pytest.raises(LipsyncError, match=r"could not be read: no. "):
        SharedCache(tmp_path / "two", "memory://c").get_or_make("faces", "k", write("two"))
    assert len(failures) == 8  # not tried again: it would not help


def test_a_shared_path_is_the_cache_itself(tmp_path):
    cache = cache_for(CacheConfig(str(tmp_path / "own")), str(tmp_path / "nfs"))
    assert type(cache) is Cache and cache.folder == tmp_path / "nfs"
    assert cache_for(CacheConfig(str(tmp_path / "own"))).folder == tmp_path / "own"
    assert cache_for(CacheConfig(str(tmp_path / "own")), "memory://c").folder == tmp_path / "own"


def test_local_paths_never_need_fsspec(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    store = OutputStore(tmp_path / "outs")
    store.keep(render(store, "a.mp4"), "a.mp4")
    assert store.receipt_of("a.mp4") and store.size_of("a.mp4") == 5
    (tmp_path / "a").write_bytes(b"a")
    assert fetched(tmp_path / "a", tmp_path) and content_id(tmp_path / "a") and cache_for(CacheConfig(str(tmp_path)))
    with pytest.raises(UsageError, match="needs the package fsspec"):
        content_id("s3://b/a")
