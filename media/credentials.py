"""Marks of a file's origin that lie outside its tags: content credentials (C2PA) and XMP."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from media.mp4_tables import outer_boxes

#: The first box of a C2PA manifest store (JUMBF, ISO 19566-5): a description box of the type "c2pa".
_C2PA = b"jumdc2pa"
_XMP = b"<x:xmpmeta"
#: A name, or the address that it ends; of bounded length, so that no file keeps the search busy.
_SOURCE_TYPE = re.compile(rb"DigitalSourceType[^A-Za-z]{1,64}([^\s\"'<>]{1,256})", re.ASCII)
#: Of a file that is no MP4, as much is searched at either end; of the boxes of one that is, as much of each.
_SEARCHED = 8 << 20
_LONGEST_NAME = 64
_NO_PLACE = (b"mdat", b"free", b"skip", b"wide")


@dataclass(frozen=True, slots=True)
class Credentials:
    """c2pa: it has content credentials; xmp: it has an XMP packet; source_type: the digital source type (IPTC) that
    this states."""

    c2pa: bool = False
    xmp: bool = False
    source_type: str = ""


def credentials_of(path: str | Path) -> Credentials:
    """What the file says of its origin outside its tags; nothing where it cannot be read."""
    c2pa, xmp, source_type = False, False, ""
    with suppress(OSError), open(path, "rb") as file:
        for part in _parts(file):
            c2pa |= _C2PA in part
            if _XMP in part:
                xmp = True
                stated = _SOURCE_TYPE.search(part, part.index(_XMP))
                name = stated[1].rpartition(b"/")[2].decode(errors="replace") if stated else ""
                source_type = name if len(name) <= _LONGEST_NAME and name.isascii() and name.isalpha() else source_type
    return Credentials(c2pa, xmp, source_type)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    """Where such marks may lie: the boxes of an MP4 file that hold no media, the two ends of any other."""
    n_bytes = os.fstat(file.fileno()).st_size
    boxes = list(outer_boxes(file))
    if any(name == b"moov" for name, _, _ in boxes):
        places = [(at, size) for name, at, size in boxes if name not in _NO_PLACE]
    else:
        places = [(0, _SEARCHED), (max(_SEARCHED, n_bytes - _SEARCHED), _SEARCHED)]
    for at, size in places:
        file.seek(at)
        yield file.read(min(size, _SEARCHED))
