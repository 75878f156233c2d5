"""The invisible watermark of a film's drawn mouths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lipsync.render.plan import PlannedFaces
from video.watermark import embed, pattern

#: Hex digits of a content's id.
ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """drawn: `video.watermark.pattern` of a content."""

    drawn: np.ndarray

    @classmethod
    def of(cls, content: str) -> Mark:
        """content: `ID_DIGITS` hex digits."""
        return cls(pattern(int(content, 16)))

    def on(
        self,
        frames: torch.Tensor,
        before: torch.Tensor,
        faces: Sequence[PlannedFaces],
        rows: slice,
        seconds: np.ndarray,
    ) -> torch.Tensor:
        """(B,3,H,W) uint8: copies of the pictures of these rows, marked where they differ from those `before` anybody's
        mouth; where nobody's is drawn, the pictures themselves. faces: in them; seconds: (B,) when they are shown."""
        if not any(one.strength[rows].any() for one in faces):
            return frames
        out = frames.clone()
        for b, row in enumerate(range(rows.start, rows.stop)):
            for one in faces:
                if one.strength[row] > 0:
                    there = one.pixels_of(slice(row, row + 1))[0]
                    embed(out[b].numpy(), before[b].numpy(), there, self.drawn, seconds[b], float(one.strength[row]))
        return out
