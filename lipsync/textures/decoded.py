"""What the textures that decode a small picture of the mouth from numbers share."""

from __future__ import annotations

import torch

from lipsync.core.types import MouthBank
from lipsync.textures.nets import LipNumbers, lower_face, near_lips, net_size, resized, usual_picture
from lipsync.textures.trainable import Options, TrainableTexture


class Decoded(TrainableTexture[Options]):
    """size: (height, width) of the decoded pictures; region: (1,1,h,w) the part of them that is drawn."""

    def index(self, bank: MouthBank) -> None:
        self.size = net_size(bank.space, self.config.width)
        self.region = resized(lower_face(bank.space, self.device), self.size)
        self._usual, self._numbers = usual_picture(bank, self.size), LipNumbers(bank)

    def weight_of(self, lips: torch.Tensor) -> torch.Tensor:
        """(B,1,h,w) how much a pixel counts in training: more, the nearer to the (B,18,2) lips."""
        return 0.5 + 4 * near_lips(lips, self.space, self.size)
