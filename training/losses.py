"""Loss terms, each by name."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.lips import LOWER_INNER, UPPER_INNER, LipBasis, opening
from lipsync.speech_to_lips import scale_of

#: Opening (eye distances) at which a mistake counts as much as in plain squares; below it counts more.
NEARLY_CLOSED = 0.01


class OpeningLoss:
    """Squared difference of the root of the mouth opening: nearly closed lips must close, wide ones may differ (ours).

    For standardised coefficients (...,K) of `basis`; returns (...).
    """

    def __init__(self, basis: LipBasis, device: torch.device | str = "cpu") -> None:
        gap = (basis.components[:, LOWER_INNER, 1] - basis.components[:, UPPER_INNER, 1]).mean(1) * scale_of(basis)
        self.gap = torch.from_numpy(np.asarray(gap, np.float32)).to(device)
        self.mean = float(opening(basis.mean))

    def __call__(self, said: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return 100 * (self._root(said) - self._root(wanted)).square()

    def _root(self, coefficients: torch.Tensor) -> torch.Tensor:
        return ((coefficients @ self.gap + self.mean).clamp(min=0) + NEARLY_CLOSED).sqrt()
