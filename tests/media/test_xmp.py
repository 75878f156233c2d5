"""XMP is put where readers look for it, and harms nothing."""

from __future__ import annotations

import struct

import pytest

from media.credentials import Credentials, credentials_of
from media.xmp import append_xmp, source_type_packet
from tests.support.video_clips import read, write_clip

PACKET = source_type_packet("trainedAlgorithmicMedia", 'a "program" <1>')


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_packet_is_found_again_and_the_picture_stays(tmp_path, suffix):
    path = write_clip(tmp_path / f"t{suffix}", 5)
    before = read(path)
    assert append_xmp(path, PACKET)
    assert credentials_of(path) == Credentials(xmp=True, source_type="trainedAlgorithmicMedia")
    assert (read(path) == before).all()


def test_the_packet_is_xml():
    from xml.etree import ElementTree

    tree = ElementTree.fromstring(PACKET.decode().split("?>", 1)[1].rpartition("<?")[0])
    assert 'a "program" <1>' in [value for one in tree.iter() for value in one.attrib.values()]


@pytest.mark.parametrize("damage", ["mkv", "open end", "cut", "empty"])
def test_other_files_stay_as_they_are(tmp_path, damage):
    path = write_clip(tmp_path / ("t.mkv" if damage == "mkv" else "t.mp4"), 5)
    content = path.read_bytes()
    if damage == "open end":  # a last box up to the end of the file, however long that is
        content += struct.pack(">I4s", 0, b"free") + b"----"
    content = {"cut": content[:-7], "empty": b""}.get(damage, content)
    path.write_bytes(content)
    assert not append_xmp(path, PACKET) and path.read_bytes() == content
