"""What a film says of the screen it was graded on, for players with other screens: read from a frame, given to an
encoder."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np

#: Side data that change from frame to frame, which encoders here do not take, and their names.
_DYNAMIC = {"DOVI_RPU_BUFFER": "Dolby Vision", "DOVI_METADATA": "Dolby Vision", "DYNAMIC_HDR_PLUS": "HDR10+"}
_DYNAMIC |= {"DYNAMIC_HDR_VIVID": "HDR Vivid"}


@dataclass(frozen=True, slots=True)
class HdrData:
    """Static data of SMPTE ST 2086 and CTA-861.3. primaries: (x, y) of red, green, blue, white; luminance: darkest and
    brightest of the mastering display, cd/m2; light: brightest pixel and brightest frame average of the film, cd/m2;
    dynamic: names of data for each frame that it has besides."""

    primaries: tuple[tuple[Fraction, Fraction], ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light: tuple[int, int] | None = None
    dynamic: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != NO_HDR


NO_HDR = HdrData()


def hdr_data(frame: av.VideoFrame) -> HdrData:
    """What a decoded frame carries."""
    found = {data.type.name: bytes(data) for data in cast(Any, frame.side_data)}
    primaries = luminance = light = None
    if display := found.get("MASTERING_DISPLAY_METADATA"):  # AVMasteringDisplayMetadata: 10 rationals, 2 flags
        numbers = np.frombuffer(display, np.int32, 22).tolist()
        values = [Fraction(n, d or 1) for n, d in zip(numbers[:20:2], numbers[1:20:2], strict=True)]
        if numbers[20]:
            primaries = tuple(zip(values[:8:2], values[1:8:2], strict=True))
        if numbers[21]:
            luminance = values[8], values[9]
    if level := found.get("CONTENT_LIGHT_LEVEL"):  # AVContentLightMetadata
        brightest, average = np.frombuffer(level, np.uint32, 2).tolist()
        light = brightest, average
    dynamic = tuple(dict.fromkeys(name for kind, name in _DYNAMIC.items() if kind in found))
    return HdrData(primaries, luminance, light, dynamic)


def encoder_options(encoder: str, hdr: HdrData) -> dict[str, str]:
    """Options of FFmpeg's encoder that write the static data; nothing for encoders that have none."""
    name, display, light, one, luma = {
        "libx264": ("x264-params", "mastering-display", "cll", 50000, 10000),
        "libx265": ("x265-params", "master-display", "max-cll", 50000, 10000),
        "libsvtav1": ("svtav1-params", "mastering-display", "content-light", None, None),
    }.get(encoder, ("", "", "", None, None))
    if not name:
        return {}

    def number(value: Fraction, unit: int | None) -> str:
        return str(round(value * unit)) if unit else f"{float(value):.6f}"

    parts = []
    if hdr.primaries and hdr.luminance:
        red, green, blue, white = (f"({number(x, one)},{number(y, one)})" for x, y in hdr.primaries)
        low, high = (number(value, luma) for value in hdr.luminance)
        parts.append(f"{display}=G{green}B{blue}R{red}WP{white}L({high},{low})")
    if hdr.light:
        parts.append(f"{light}={hdr.light[0]},{hdr.light[1]}")
    return {name: ":".join(parts)} if parts else {}


def hdr_losses(encoder: str, hdr: HdrData) -> list[str]:
    """Notes on what of it is not written."""
    notes = []
    static = [hdr.primaries or hdr.luminance, hdr.light]
    written = encoder_options(encoder, hdr).get(f"{encoder.removeprefix('lib')}-params", "")
    if any(static) and written.count("=") < sum(map(bool, static)):
        notes.append(
            f"{encoder} does not write the target's mastering display data (HDR still plays); "
            "--set write.codec=libx265 does"
        )
    if hdr.dynamic:
        notes.append(
            f"the target's {' and '.join(hdr.dynamic)} data, made for each frame of it, are left out: screens show the "
            "HDR picture beneath"
        )
    return notes
