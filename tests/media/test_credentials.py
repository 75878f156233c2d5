"""Marks of origin outside the tags: found wherever a container may hold them, and not where there are none."""

from __future__ import annotations

import struct

import pytest

from media.credentials import Credentials, credentials_of
from tests.support.video_clips import write_clip

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
MANIFEST = b"\0\0\0\0manifest\0" + b"\0\0\0\x40jumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0"
URI = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def xmp(kind, form):
    said = {
        "attribute": f'<rdf:Description Iptc4xmpExt:DigitalSourceType="{URI}{kind}"/>',
        "element": f"<Iptc4xmpExt:DigitalSourceType>{URI}{kind}</Iptc4xmpExt:DigitalSourceType>",
        "none": "<rdf:Description/>",
    }[form]
    return f'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">{said}</x:xmpmeta>'.encode()


def box(uuid, body):
    return struct.pack(">I4s16s", 24 + len(body), b"uuid", uuid) + body


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_plain_file_has_none(tmp_path, suffix):
    assert credentials_of(write_clip(tmp_path / f"t{suffix}", 5)) == Credentials()
    assert credentials_of(tmp_path / "missing.mp4") == Credentials()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_content_credentials_are_found(tmp_path, suffix):
    path = write_clip(tmp_path / f"t{suffix}", 5)
    with path.open("ab") as file:
        file.write(box(C2PA_UUID, MANIFEST))
    assert credentials_of(path) == Credentials(c2pa=True)


@pytest.mark.parametrize("form", ["attribute", "element", "none"])
def test_xmp_says_its_source_type(tmp_path, form):
    path = write_clip(tmp_path / "t.mp4", 5)
    with path.open("ab") as file:
        file.write(box(XMP_UUID, xmp("trainedAlgorithmicMedia", form)))
    assert credentials_of(path) == Credentials(
        xmp=True, source_type="" if form == "none" else "trainedAlgorithmicMedia"
    )


def test_what_looks_like_it_in_the_picture_is_none(tmp_path):
    path = write_clip(tmp_path / "t.mp4", 5)
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(MANIFEST), b"mdat") + MANIFEST)
    assert credentials_of(path) == Credentials()


@pytest.mark.parametrize(
    "said", [b"A" * 300000, b"a/" * 150000, b"1" * 300000, b"DigitalSourceType:" * 20000, b"\xff/\xff"]
)
def test_no_packet_keeps_the_search_busy(tmp_path, said):
    """A pattern that tries every way to read it would take hours."""
    path = write_clip(tmp_path / "t.mp4", 5)
    with path.open("ab") as file:
        file.write(box(XMP_UUID, b"<x:xmpmeta>DigitalSourceType>" + said + b"</x:xmpmeta>"))
    assert credentials_of(path) in (Credentials(xmp=True), Credentials(xmp=True, source_type="DigitalSourceType"))
