"""NAL units of H.264 and HEVC: what begins with a key picture, and parameter sets of a second encoder beside a file's
own, under numbers of their own, so that packets of both play from one track. ITU-T H.264 7.3, H.265 7.3; avcC and hvcC:
ISO/IEC 14496-15."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

IDR, CRA = "IDR", "CRA"  #: pictures at which decoding starts: nothing after an IDR refers to what was before it


def annexb_units(data: bytes) -> list[bytes]:
    """The NAL units between start codes."""
    return [unit for part in data.split(b"\0\0\1") if (unit := part.rstrip(b"\0"))]


def sample_units(data: bytes) -> Iterator[bytes]:
    """The NAL units of a packet of MP4 or Matroska, each after its length of 4 bytes. ValueError: damaged."""
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data) or end == at + 4:
            raise ValueError("a NAL unit leaves its packet")
        yield data[at + 4 : end]
        at = end


def as_sample(units: Sequence[bytes]) -> bytes:
    """NAL units as a packet of MP4 or Matroska."""
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


class AvcUnits:
    """H.264. sets: the parameter sets in an avcC. ValueError: it is none, or its lengths are not of 4 bytes."""

    encoder = "libx264"
    end_of_sequence = b""  # after one only an IDR may come (7.4.1.2.3)

    def __init__(self, extradata: bytes) -> None:
        if len(extradata) < 7 or extradata[0] != 1 or extradata[4] & 3 != 3:
            raise ValueError("no avcC with lengths of 4 bytes")
        self._head = extradata[:5]
        sps, at = _counted(extradata, 6, extradata[5] & 31)
        pps, at = _counted(extradata, at + 1, extradata[at])
        self._sps, self._pps, self._tail = sps, pps, extradata[at:]
        self.sets = [*sps, *pps]
        taken = {_number(_bits(unit[4:]))[0] for unit in sps} | {_number(_bits(unit[1:]))[0] for unit in pps}
        self._id = next(number for number in range(1, 33) if number not in taken)
        if self._id > 31:
            raise ValueError("all numbers of parameter sets are taken")

    @property
    def options(self) -> str:
        """For the second encoder."""
        return f"sps-id={self._id}"  # x264 gives it to both sets

    @staticmethod
    def start_of(unit: bytes) -> str | None:
        return IDR if unit[0] & 31 == 5 else None

    @staticmethod
    def is_set(unit: bytes) -> bool:
        return unit[0] & 31 in (7, 8)

    @staticmethod
    def is_slice(unit: bytes) -> bool:
        return 1 <= unit[0] & 31 <= 5

    def renumbered(self, unit: bytes) -> bytes:
        """A NAL unit of the second encoder, as it can stand in the file."""
        return unit

    def with_sets_of(self, extradata: bytes) -> bytes:
        """The avcC with the sets of the second encoder, whose extradata has start codes."""
        units = annexb_units(extradata)
        sps = [*self._sps, *(unit for unit in units if unit[0] & 31 == 7)]
        pps = [*self._pps, *(unit for unit in units if unit[0] & 31 == 8)]
        head = self._head[:3] + bytes([max(unit[3] for unit in sps)]) + self._head[4:]  # the highest level
        return head + bytes([0xE0 | len(sps)]) + _lengthed(sps) + bytes([len(pps)]) + _lengthed(pps) + self._tail


class HevcUnits:
    """HEVC. sets: the parameter sets in an hvcC. ValueError: it is none, or its lengths are not of 4 bytes.

    x265 numbers its sets 0, as most files do. A slice names its picture parameter set in one bit where that is 0, in
    nine where it is 15 to 30 (7.3.6.1, 9.2): a slice renumbered so is a byte longer and else the same."""

    encoder = "libx265"
    options = ""
    end_of_sequence = bytes([36 << 1, 1])

    def __init__(self, extradata: bytes) -> None:
        if len(extradata) < 23 or extradata[0] != 1 or extradata[21] & 3 != 3:
            raise ValueError("no hvcC with lengths of 4 bytes")
        self._head, self._arrays, at = extradata[:22], dict[int, list[bytes]](), 23
        for _ in range(extradata[22]):
            kind, count = extradata[at] & 63, int.from_bytes(extradata[at + 1 : at + 3], "big")
            units, at = _counted(extradata, at + 3, count)
            self._arrays[kind] = [*self._arrays.get(kind, []), *units]
        self.sets = [unit for kind in (32, 33, 34) for unit in self._arrays.get(kind, [])]
        taken = {kind: {_hevc_number(unit) for unit in self._arrays.get(kind, [])} for kind in (32, 33, 34)}
        ranges = {32: range(16), 33: range(16), 34: range(15, 31)}
        self._id = {kind: next((i for i in ranges[kind] if i not in taken[kind]), -1) for kind in ranges}
        if min(self._id.values()) < 0:
            raise ValueError("all numbers of parameter sets are taken")

    @staticmethod
    def start_of(unit: bytes) -> str | None:
        return {19: IDR, 20: IDR, 21: CRA}.get(_hevc_type(unit))

    @staticmethod
    def is_set(unit: bytes) -> bool:
        return 32 <= _hevc_type(unit) <= 34

    @staticmethod
    def is_slice(unit: bytes) -> bool:
        return _hevc_type(unit) < 32

    def renumbered(self, unit: bytes) -> bytes:
        """A NAL unit of the second encoder, as it can stand in the file."""
        kind = _hevc_type(unit)
        if kind > 34:
            return unit
        head, rbsp = unit[:2], _unescaped(unit[2:])
        if kind < 32:
            return head + _escaped(self._slice(rbsp, kind))
        bits = _bits(rbsp).rstrip("0")[:-1]  # without the closing bit
        if kind == 32:
            bits = f"{self._id[32]:04b}{bits[4:]}"
        elif kind == 33:
            at = _sps_number_at(bits)
            _, end = _number(bits, at)
            bits = f"{self._id[32]:04b}{bits[4:at]}{_coded(self._id[33])}{bits[end:]}"
        else:
            _, end = _number(bits)
            _, end = _number(bits, end)
            bits = _coded(self._id[34]) + _coded(self._id[33]) + bits[end:]
        bits += "1"
        bits += "0" * (-len(bits) % 8)
        return head + _escaped(int(bits, 2).to_bytes(len(bits) // 8, "big"))

    def _slice(self, rbsp: bytes, kind: int) -> bytes:
        first = f"{rbsp[0]:08b}"
        at = 2 if 16 <= kind <= 23 else 1
        if first[at] != "1":
            raise ValueError("a slice of the second encoder names another parameter set than 0")
        changed = first[:at] + _coded(self._id[34]) + first[at + 1 :]
        return int(changed, 2).to_bytes(2, "big") + rbsp[1:]

    def with_sets_of(self, extradata: bytes) -> bytes:
        """The hvcC with the sets of the second encoder, whose extradata has start codes. Its arrays are said to be
        complete: no set is in band."""
        arrays = {kind: list(units) for kind, units in self._arrays.items()}
        for unit in annexb_units(extradata):
            if self.is_set(unit):
                arrays.setdefault(_hevc_type(unit), []).append(self.renumbered(unit))
        out = self._head + bytes([len(arrays)])
        for kind, units in sorted(arrays.items()):
            complete = 0x80 if 32 <= kind <= 34 else 0
            out += bytes([complete | kind]) + struct.pack(">H", len(units)) + _lengthed(units)
        return out


Units = AvcUnits | HevcUnits
#: By FFmpeg's name of the codec.
UNITS: dict[str, type[AvcUnits] | type[HevcUnits]] = {"h264": AvcUnits, "hevc": HevcUnits}


def _counted(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """`count` NAL units, each after its length of 2 bytes, and where they end."""
    units = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or end == at + 2:
            raise ValueError("a parameter set leaves its record")
        units.append(data[at + 2 : end])
        at = end
    return units, at


def _lengthed(units: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(unit)) + unit for unit in units)


def _hevc_type(unit: bytes) -> int:
    return unit[0] >> 1 & 63


def _hevc_number(unit: bytes) -> int:
    """Of a parameter set."""
    bits = _bits(_unescaped(unit[2:]))
    kind = _hevc_type(unit)
    return int(bits[:4], 2) if kind == 32 else _number(bits, _sps_number_at(bits) if kind == 33 else 0)[0]


def _sps_number_at(bits: str) -> int:
    """Where the number of a sequence parameter set stands: after the profiles and levels of its temporal layers."""
    layers, at = int(bits[4:7], 2), 8 + 88 + 8
    if not layers:
        return at
    said = bits[at : at + 2 * layers]
    return at + 16 + sum(88 * (said[i] == "1") + 8 * (said[i + 1] == "1") for i in range(0, 2 * layers, 2))


def _unescaped(data: bytes) -> bytes:
    """Without the bytes that keep start codes out."""
    return data.replace(b"\0\0\3", b"\0\0")


def _escaped(data: bytes) -> bytes:
    return re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)


def _bits(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


def _number(bits: str, at: int = 0) -> tuple[int, int]:
    """An exponential-Golomb number, and where it ends."""
    zeros = bits.index("1", at) - at
    end = at + 2 * zeros + 1
    return int(bits[at + zeros : end], 2) - 1, end


def _coded(number: int) -> str:
    """The number as exponential-Golomb bits."""
    binary = f"{number + 1:b}"
    return "0" * (len(binary) - 1) + binary
