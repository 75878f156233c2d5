"""Where a batch's videos and receipts go: a folder, or an address."""

from __future__ import annotations

from pathlib import Path

from lipsync.batch.storage.address import RemoteFile, is_url, short_hash
from lipsync.core.errors import LipsyncError
from lipsync.provenance.manifest import sidecar_of
from lipsync.store.cache import content_hash, default_folder
from lipsync.store.preflight import page_path, receipt_path
from lipsync.store.receipt import Receipt


class OutputStore:
    """The folder or address below which a batch's videos and receipts go. `out`: a video's name below it, with forward
    slashes."""

    def __init__(self, root: str | Path, scratch: str | Path | None = None) -> None:
        """scratch: a local folder for videos on their way to an address."""
        self.root = str(root).rstrip("/") if is_url(root) else str(root)
        self._scratch = Path(scratch or default_folder() / "outputs") / short_hash([self.root])

    @property
    def is_remote(self) -> bool:
        return is_url(self.root)

    def receipt_of(self, out: str) -> Receipt | None:
        """The receipt of `out`; None: there is none, or it is damaged."""
        if not self.is_remote:
            return Receipt.read(receipt_path(self._local(out)))
        try:
            return Receipt.from_json(self._remote(receipt_path(out)).read())
        except OSError:
            return None

    def size_of(self, out: str) -> int | None:
        """Bytes of the video; None where there is none."""
        if self.is_remote:
            return self._remote(out).facts(missing_ok=True).get("size")
        try:
            return self._local(out).stat().st_size
        except OSError:
            return None

    def has_page(self, out: str) -> bool:
        """Whether a quality report lies beside `out` that was made after it. Never of one at an address: it would have
        to be fetched to make one."""
        if self.is_remote:
            return False
        page, receipt = page_path(self._local(out)), receipt_path(self._local(out))
        try:
            return page.stat().st_mtime_ns >= receipt.stat().st_mtime_ns
        except OSError:
            return False

    def hash_of(self, out: str) -> str:
        """SHA-256 (hex) of the video; of one at an address it is read there."""
        return self._remote(out).sha256() if self.is_remote else content_hash(self._local(out))

    def workfile(self, out: str) -> Path:
        """The local file to render into, the same at every call; its folder exists. Of a local folder it
        is the final file itself."""
        path = self._local(out)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LipsyncError(
                f"The output folder {path.parent} cannot be made: {error.strerror or error}. Choose another with -o."
            ) from error
        return path

    def keep(self, workfile: Path, out: str) -> None:
        """Brings a rendered video, what lies beside it and its receipt to an address, the receipt last: where a reader
        finds a receipt, its video is complete. Nothing to do for a local folder."""
        if not self.is_remote:
            return
        receipt = self._remote(receipt_path(out))
        receipt.remove()
        self._remote(out).put(workfile)
        beside = sidecar_of(workfile)
        if beside.is_file():
            self._remote(sidecar_of(out)).put(beside)
            beside.unlink()
        page = page_path(workfile)
        if page.is_file():
            self._remote(page_path(out)).put(page)
            page.unlink()
        receipt.put(receipt_path(workfile))
        for file in (workfile, receipt_path(workfile)):
            file.unlink(missing_ok=True)

    def put(self, file: Path, name: str) -> None:
        """Brings another file to an address."""
        self._remote(name).put(file)

    def _local(self, out: str) -> Path:
        return (self._scratch if self.is_remote else Path(self.root)) / out

    def _remote(self, out: str | Path) -> RemoteFile:
        return RemoteFile(f"{self.root}/{Path(out).as_posix()}")
