"""Questions for texture methods."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.core.texture import TextureQuery
from tests.support.drawn import lips_open


def query_for(gaps, radius, space):
    """Rows that ask for these gaps, context repeated at the ends."""
    n = len(gaps)
    around = np.clip(np.arange(-radius, n + radius), 0, n - 1)
    lips = torch.from_numpy(np.stack([lips_open(gaps[i]) for i in around]).astype(np.float32))
    crop = torch.full((n, 3, space.height, space.width), 0.5)
    return TextureQuery(lips, torch.zeros(len(around), 3), crop)
