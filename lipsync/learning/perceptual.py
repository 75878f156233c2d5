"""The perceptual network: our own mouth encoder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import relu

from lipsync.store.cache import save_tensors
from lipsync.store.registry import MOUTH_ENCODER
from lipsync.store.weights_file import read_weights_file
from media.atomic import atomic_write

WIDTHS = (16, 32, 64, 96)


class MouthEncoder(nn.Module):
    """(B,3,H,W) RGB in [0,1] to four layers: 16, 32, 64, 96 channels at a half, a quarter, an eighth and a sixteenth of
    the size."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1), nn.Conv2d(b, b, 3, padding=1)])
            for a, b in zip((3, *WIDTHS), WIDTHS, strict=False)
        )

    def forward(self, rgb: Tensor) -> list[Tensor]:
        x, kept = 4 * rgb - 2, []
        for stage in self.stages:
            halve, look = stage.children()
            x = relu(look(relu(halve(x))))
            kept.append(x)
        return kept

    def save(self, path: Path, about: dict[str, str]) -> None:
        """Writes the network, 16-bit floats, with `about` beside it."""
        tensors = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        with atomic_write(path) as part:
            save_tensors(part, tensors, {"what": "mouth encoder"} | about)


def mouth_encoder(path: Path = MOUTH_ENCODER) -> MouthEncoder:
    """The encoder of a file, float32, ready to use: the one that ships. LipsyncError: not such a file."""
    net, file = MouthEncoder(), read_weights_file(path, "a mouth encoder", "Install lipsync again.")
    with file.whole():
        file.fill(net)
    return net.eval().requires_grad_(False)
