"""Loss terms, each by name and each with its paper. Pictures are (B,3,H,W) RGB in [0,1]; every term is the mean over
all it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss, relu, softplus

from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, LipBasis, opening
from lipsync.metrics.pictures import ssim_map
from lipsync.speech.lip_model import scale_of

#: Opening (eye distances) at which a mistake counts as much as in plain squares; below it counts more.
NEARLY_CLOSED = 0.01
#: Layers of VGG16 that LPIPS compares: the last ReLU before each pooling, and the last of all.
VGG16_LAYERS = (3, 8, 15, 22, 29)


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

    def gap_of(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(...,) opening, eye distances; below 0 where the inner edges cross."""
        return coefficients @ self.gap + self.mean

    def _root(self, coefficients: torch.Tensor) -> torch.Tensor:
        return (self.gap_of(coefficients).clamp(min=0) + NEARLY_CLOSED).sqrt()


class Losses:
    """The terms a texture method may use: `losses.l1(a, b)` and so on, each a scalar.

    perceptual: the network behind `perceptual`: "vgg16", "mouth-encoder", or "auto" = vgg16 where torchvision and its
    weights are there, else the mouth encoder that ships. It is loaded at the first use of `perceptual` or
    `perceptual_name`; nothing is ever downloaded."""

    def __init__(self, device: torch.device | str = "cpu", perceptual: str = "auto") -> None:
        if perceptual not in ("auto", "vgg16", "mouth-encoder"):
            raise LipsyncError(f"There is no perceptual network {perceptual!r}; known: auto, mouth-encoder, vgg16.")
        self.device, self._wanted = torch.device(device), perceptual

    @staticmethod
    def l1(a: Tensor, b: Tensor) -> Tensor:
        """Mean absolute difference; in pix2pix 100 times the adversarial term (Isola et al. 2017)."""
        return l1_loss(a.float(), b.float())

    @staticmethod
    def gan(kind: str) -> Adversarial:
        """The sides of an adversarial game: "gan" (Goodfellow et al. 2014), "lsgan" (Mao et al. 2017), "hinge" (Lim and
        Ye 2017) or "wgan" (Arjovsky et al. 2017). LipsyncError: another kind."""
        if kind not in GAMES:
            raise LipsyncError(f"There is no adversarial loss {kind!r}; known: {', '.join(sorted(GAMES))}.")
        return GAMES[kind]

    @staticmethod
    def feature_matching(ours: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
        """Mean absolute difference of a discriminator's layers for drawn and for real pictures (pix2pixHD: Wang et al.
        2018).

        One list of layers for each discriminator; every layer and every discriminator counts the same; nothing flows
        back through `real`."""
        pairs = [(a, b) for net, other in zip(ours, real, strict=True) for a, b in zip(net, other, strict=True)]
        return torch.stack([l1_loss(a.float(), b.detach().float()) for a, b in pairs]).mean()

    @staticmethod
    def edge(a: Tensor, b: Tensor) -> Tensor:
        """Mean difference of the sizes of the steps from pixel to pixel, across plus down: blur costs, a shift of
        brightness does not (gradient difference loss: Mathieu, Couprie and LeCun 2016; the edge loss of the deepfake
        programs)."""
        a, b = a.float(), b.float()
        across, down = (l1_loss(a.diff(dim=axis).abs(), b.diff(dim=axis).abs()) for axis in (-1, -2))
        return across + down

    @staticmethod
    def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
        """1 - SSIM of the brightness over square windows of 7 pixels, mean (Wang et al. 2004; as a loss: Zhao et al.
        2017)."""
        a, b = (x.float().mean(1, keepdim=True) for x in (a, b))
        return 1 - ssim_map(a, b, lambda x: avg_pool2d(x, 7, 1)).mean()

    @staticmethod
    def temporal(drawn: Tensor, truth: Tensor, run: int) -> Tensor:
        """Mean absolute difference between the change from row to row as drawn and as filmed; 0 for runs of one
        (temporal coherence loss: Sun et al. 2021, Lin et al. 2022; there with squares).

        Rows come in runs of `run` neighbours in time, run after run.
        """
        if run < 2:
            return drawn.new_zeros((), dtype=torch.float32)
        change = (drawn.float() - truth.float()).unflatten(0, (-1, run)).diff(dim=1)
        return change.abs().mean()

    @staticmethod
    def kl(mean: Tensor, logvar: Tensor) -> Tensor:
        """Kullback-Leibler divergence of N(mean, exp(logvar)) from N(0, 1), nats a dimension, mean (Kingma and Welling
        2014)."""
        mean, logvar = mean.float(), logvar.float()
        return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()

    @property
    def perceptual_name(self) -> str:
        """Which network is behind `perceptual`: "vgg16" or "mouth-encoder"."""
        return self._network[0]

    def perceptual(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean of `perceptual_distance` over the rows (LPIPS: Zhang et al. 2018)."""
        return self.perceptual_distance(a, b).mean()

    def perceptual_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """(B,) how different two pictures look: `feature_distance` of the layers of a network (LPIPS: Zhang et al.
        2018, without its learned weights). Always in float32. Pictures of any equal size of at least 32 px."""
        with torch.autocast(self.device.type, enabled=False):
            layers = self._network[1](torch.cat([a.float(), b.float()]))
            return feature_distance([x[: len(a)] for x in layers], [x[len(a) :] for x in layers])

    def features(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean absolute difference of the layers of the network behind `perceptual`, of each in units of its mean size
        for `b`, mean over the layers (Johnson, Alahi and Fei-Fei 2016; as in pix2pixHD and FSGAN). Unlike `perceptual`
        it knows colour and contrast. Always in float32; pictures of any equal size of at least 32 px."""
        with torch.autocast(self.device.type, enabled=False):
            layers = self._network[1](torch.cat([a.float(), b.float()]))
            pairs = [(x[: len(a)], x[len(a) :].detach()) for x in layers]
            return torch.stack([l1_loss(x, y) / y.abs().mean().clamp_min(1e-6) for x, y in pairs]).mean()

    @cached_property
    def _network(self) -> tuple[str, Callable[[Tensor], list[Tensor]]]:
        net = vgg16() if self._wanted != "mouth-encoder" else None
        name = "mouth-encoder" if net is None else "vgg16"
        if net is None:
            if self._wanted == "vgg16":
                raise LipsyncError(
                    "The network vgg16 needs torchvision and its weights in torch hub's folder. Use mouth-encoder."
                )
            from lipsync.learning.perceptual import mouth_encoder

            net = mouth_encoder()
        return name, net.to(self.device).eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class Adversarial:
    """The sides of an adversarial game, each a scalar from logits of any shape.

    real, fake: the discriminator's, for real and for drawn pictures; generator: the generator's, for drawn ones.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _mean_of(cost: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda logits: cost(logits.float()).mean()


_MORE, _LESS = _mean_of(lambda x: -x), _mean_of(lambda x: x)  # as high as possible, as low as possible
_LIKELY, _UNLIKELY = _mean_of(lambda x: softplus(-x)), _mean_of(softplus)
_ONE, _ZERO = _mean_of(lambda x: (x - 1).square()), _mean_of(torch.square)
#: Cross entropy, its generator's form the one that does not saturate; least squares; hinge; Wasserstein (the caller
#: keeps it Lipschitz).
GAMES = {
    "gan": Adversarial(_LIKELY, _UNLIKELY, _LIKELY),
    "lsgan": Adversarial(_ONE, _ZERO, _ONE),
    "hinge": Adversarial(_mean_of(lambda x: relu(1 - x)), _mean_of(lambda x: relu(1 + x)), _MORE),
    "wgan": Adversarial(_MORE, _LESS, _MORE),
}


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """(B,) squared difference of the unit-length channels at each place, mean over places and layers (Zhang et al.
    2018); 0 to 4.

    a, b: layers (B,C,h,w) of one network for two pictures.
    """
    return torch.stack(
        [(of_length_one(x) - of_length_one(y)).square().sum(1).mean((1, 2)) for x, y in zip(a, b, strict=True)]
    ).mean(0)


def of_length_one(layer: Tensor) -> Tensor:
    """(B,C,h,w), the channels at each place divided by their root sum of squares."""
    return layer / (layer.square().sum(1, keepdim=True) + 1e-8).sqrt()


class Vgg16(nn.Module):
    """The layers of VGG16 (Simonyan and Zisserman 2015) that LPIPS compares. layers: torchvision's `features`."""

    mean: Tensor
    spread: Tensor

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList(list(layers)[: VGG16_LAYERS[-1] + 1])
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, rgb: Tensor) -> list[Tensor]:
        x, kept = (rgb - self.mean) / self.spread, []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in VGG16_LAYERS:
                kept.append(x)
        return kept


def vgg16() -> Vgg16 | None:
    """torchvision's VGG16 where torchvision works and the weights already lie in torch hub's folder, else None; never
    downloads."""
    try:
        from torchvision import models  # pyright: ignore[reportMissingImports]  optional, and not asked for
    except (ImportError, OSError, RuntimeError):  # RuntimeError: a torchvision made for another torch
        return None
    weights = models.VGG16_Weights.IMAGENET1K_V1
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name).is_file():
        return None
    return Vgg16(models.vgg16(weights=weights).features)
