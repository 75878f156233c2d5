"""A label in a corner of the picture that says it was modified, for everybody to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lipsync.core.arrays import runs_of
from lipsync.core.errors import UsageError
from lipsync.core.geometry import apply
from lipsync.render.plan import PlannedFaces

#: The words of the EU's code of practice on marking (June 2026).
WORDS = {"eu": "AI MODIFIED"}
#: Height of capitals, of the picture's width: 9 px where that is shown 360 px wide, the least that is read with ease.
CAPITALS = 0.026
_MARGIN, _PADDING = 0.02, 0.45  # of the width; of the capitals
_WIDEST = 0.6  # a line, of the width
_PLATE = 0.62  # opacity
_SHORTEST_S = 2.0
#: The head in the face frame: left, top, right, bottom.
_HEAD = np.array([-1.1, -1.9, 1.1, 0.9])


@dataclass(frozen=True, slots=True)
class Badge:
    """alpha: (h,w) float32 opacity of the plate and its words, and white: (h,w) float32, how much of it is the words;
    left, top: pixels; shown: (N,) bool output rows that bear it."""

    alpha: torch.Tensor
    white: torch.Tensor
    left: int
    top: int
    shown: np.ndarray

    def on(self, rows: slice, frames: torch.Tensor) -> torch.Tensor:
        """(B,3,H,W) uint8: copies of the frames of these rows, with the label where it is shown; where it is in none,
        the frames themselves."""
        bear = np.flatnonzero(self.shown[rows])
        if not len(bear):
            return frames
        height, width = self.alpha.shape
        alpha, white = self.alpha.to(frames.device), self.white.to(frames.device)
        out = frames.clone()
        for row in bear:
            place = out[row, :, self.top : self.top + height, self.left : self.left + width]
            place[:] = (place * (1 - alpha) + 255 * white * alpha).round().to(torch.uint8)
        return out


def rows_of_badge(faces: Sequence[PlannedFaces], rate: float) -> np.ndarray:
    """(N,) bool: output rows in which a mouth is drawn, and pauses between them that are too short for a label to go
    and come again."""
    shown = np.any([one.strength > 0 for one in faces], axis=0)
    for first, after in runs_of(~shown):
        if first > 0 and after < len(shown) and after - first < _SHORTEST_S * rate:
            shown[first:after] = True
    return shown


def make_badge(said: str, font: str, size: tuple[int, int], faces: Sequence[PlannedFaces], shown: np.ndarray) -> Badge:
    """said: words, or a key of `WORDS`; font: a file, empty = DejaVu Sans; size: (width, height) of the picture; faces:
    those that are dubbed: the label takes the corner where it is over them least; shown: (N,) bool, the rows that bear
    it. UsageError: the font lacks letters, or the words do not fit."""
    white = draw_words(WORDS.get(said, said), font, size)
    height, width = white.shape
    alpha = np.maximum(white, np.float32(_PLATE))
    margin = round(_MARGIN * size[0])
    right, bottom = size[0] - margin - width, size[1] - margin - height
    corners = [(margin, margin), (right, margin), (margin, bottom), (right, bottom)]
    left, top = min(corners, key=lambda corner: _covered(corner, (width, height), faces))
    return Badge(torch.from_numpy(alpha), torch.from_numpy(white), left, top, shown)


def draw_words(words: str, font: str, size: tuple[int, int]) -> np.ndarray:
    """(h,w) float32 in [0,1]: the words, with room around them, as large as `CAPITALS` says. UsageError as
    `make_badge`."""
    from PIL import Image, ImageDraw, ImageFont

    capitals = CAPITALS * size[0]
    file = font or _usual_font()
    _refuse_unknown_letters(words, file)
    face = ImageFont.truetype(file, max(6, round(capitals / 0.73)))  # capitals of DejaVu are .73 of its size
    lines = _lines(words, lambda line: face.getlength(line) <= _WIDEST * size[0])
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = draw.multiline_textbbox((0, 0), "\n".join(lines), font=face)
    pad = max(2, round(_PADDING * capitals))
    drawn = Image.new("L", (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad))
    if drawn.width > 0.95 * size[0] or drawn.height > 0.4 * size[1]:
        raise UsageError(f"--badge {words!r} is too long for a picture of {size[0]}x{size[1]}. Use fewer words.")
    ImageDraw.Draw(drawn).multiline_text((pad - left, pad - top), "\n".join(lines), fill=255, font=face)
    return np.asarray(drawn, np.float32) / 255


def _usual_font() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf")


def _refuse_unknown_letters(words: str, font: str) -> None:
    from matplotlib.ft2font import FT2Font

    try:
        known = FT2Font(font)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"mark.badge_font {font} is no font that can be read. Name a TrueType file.") from error
    unknown = [letter for letter in words if not letter.isspace() and not known.get_char_index(ord(letter))]
    if unknown or not words.strip():
        what = f"has no {unknown[0]!r}" if unknown else "draws no blank label"
        raise UsageError(f"--badge {words!r}: the font {what}. Name a font that has all letters: mark.badge_font.")


def _lines(words: str, fits) -> list[str]:
    """The words in lines that fit, as few as there can be."""
    lines: list[str] = []
    for word in words.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _covered(corner: tuple[int, int], size: tuple[int, int], faces: Sequence[PlannedFaces]) -> int:
    """In how many rows a label there lies over a head."""
    ends = _HEAD[[[0, 1], [2, 1], [0, 3], [2, 3]]]
    count = 0
    for one in faces:
        heads = apply(one.pixel_from_face, np.broadcast_to(ends, (len(one.pixel_from_face), 4, 2)))
        first, last = heads.min(axis=1), heads.max(axis=1)
        over = (first < np.add(corner, size)) & (last > corner)
        count += int(over.all(axis=1).sum())
    return count
