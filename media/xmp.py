"""XMP packets (ISO 16684-1) in MP4 and QuickTime files: a `uuid` box after all others."""

from __future__ import annotations

import struct
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from media.mp4_tables import outer_boxes

#: IPTC's list of digital source types.
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: The box type of XMP (XMP specification, part 3).
UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def source_type_packet(source_type: str, made_by: str) -> bytes:
    """A packet that states IPTC's `DigitalSourceType`, such as "compositeWithTrainedAlgorithmicMedia", and the program
    that made the file."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f"xmp:CreatorTool={quoteattr(made_by)}>"
        f"<Iptc4xmpExt:DigitalSourceType>{escape(SOURCE_TYPES + source_type)}</Iptc4xmpExt:DigitalSourceType>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def append_xmp(path: str | Path, packet: bytes) -> bool:
    """Whether the packet could be put at the end of the file: it is MP4 or QuickTime, its boxes end with it, and the
    last says its size. Places of other boxes stay."""
    with open(path, "r+b") as file:
        boxes = list(outer_boxes(file))
        n_bytes = file.seek(0, 2)
        if not boxes or not any(name == b"moov" for name, _, _ in boxes):
            return False
        _, at, size = boxes[-1]
        file.seek(at)
        (stated,) = struct.unpack(">I", file.read(4))
        if at + size != n_bytes or (stated != size and stated != 1):
            return False
        file.seek(n_bytes)
        file.write(struct.pack(">I4s16s", 24 + len(packet), b"uuid", UUID) + packet)
        return True
