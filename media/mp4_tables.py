"""The boxes of an MP4 file, and what its tables state, read before FFmpeg does: it takes memory for every sample that
is stated, wherever it may lie."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

#: Old sound codecs state up to two samples a byte; more than so many are damage.
MOST_PER_BYTE = 64
_WITHIN = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
#: Where the number of samples stands in an atom's body.
_COUNT_AT = {b"stsz": 8, b"trun": 4}


def impossible_count(path: str | Path) -> int | None:
    """A number of samples that cannot be in a file of this size; None where none is stated, as in all files of other
    kinds."""
    with suppress(OSError), open(path, "rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        return next((count for count in _counts(file, 0, n_bytes) if count > MOST_PER_BYTE * n_bytes), None)
    return None


def _counts(file: BinaryIO, at: int, end: int, depth: int = 0) -> Iterator[int]:
    with suppress(struct.error):  # the file ends in the middle of an atom
        while at + 8 <= end:
            file.seek(at)
            size, name = struct.unpack(">I4s", file.read(8))
            body = at + 8
            if size == 1:
                (size,), body = struct.unpack(">Q", file.read(8)), at + 16
            size = min(size, end - at) if size else end - at
            if at + size < body:
                return
            if name in _WITHIN and depth < 10:
                yield from _counts(file, body, at + size, depth + 1)
            elif name in _COUNT_AT:
                file.seek(body + _COUNT_AT[name])
                yield struct.unpack(">I", file.read(4))[0]
            at += size


def outer_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(name, place, size) of the outermost boxes of an MP4 file, at most 4096 of them; of another file, nonsense or
    none."""
    at, n_bytes = 0, os.fstat(file.fileno()).st_size
    for _ in range(4096):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack(">Q", head[8:])
        size = min(size, n_bytes - at) if size else n_bytes - at
        if size < 8:
            return
        yield name, at, size
        at += size
