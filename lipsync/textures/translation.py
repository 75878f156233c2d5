"""What pix2pix, pix2pixHD and FSGAN share: networks that turn one picture into another, their discriminators, and the
game between them.

The picture to translate is the frame's own crop with its mouth blanked and the wanted lips drawn in; the answer is the
crop with a mouth. Networks see pictures in [-1,1] and normalise within the picture, so that a row does not depend on
its batch."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthBank, MouthSpace
from lipsync.textures.nets import blanked, drawn_lips, lower_face, net_size, patch_layer, resized
from lipsync.textures.trainable import Options, TrainableTexture

#: How fast the drawn mouth takes over inside the redrawn region: the region's rim shows little of the mouth that was
#: there.
_TAKES_OVER = 2.0


class Canvas:
    """The pixels a network works on: the crop's own, padded to multiples of `multiple`, where it is no wider than
    `width`; else fewer."""

    def __init__(self, space: MouthSpace, width: int, multiple: int) -> None:
        self.space = space
        small = space.width <= width
        self.inner = (space.height, space.width) if small else net_size(space, width, multiple)
        missing = [-(-side // multiple) * multiple - side for side in self.inner]
        self.pad = (missing[1] // 2, missing[1] - missing[1] // 2, missing[0] // 2, missing[0] - missing[0] // 2)
        self.size = (self.inner[0] + missing[0], self.inner[1] + missing[1])

    def from_crop(self, crop: torch.Tensor) -> torch.Tensor:
        """(B,C,*size) of (B,C,Hm,Wm) crops, what lies outside them like their rim."""
        return F.pad(resized(crop, self.inner), self.pad, mode="replicate")

    def to_crop(self, picture: torch.Tensor) -> torch.Tensor:
        """(B,C,Hm,Wm), the way back."""
        left, _, top, _ = self.pad
        inner = picture[:, :, top : top + self.inner[0], left : left + self.inner[1]]
        return resized(inner, (self.space.height, self.space.width))

    def draw_query(self, query: TextureQuery) -> torch.Tensor:
        """(B,3,*size) in [0,1]: the lips drawn over the blanked crops."""
        lips = drawn_lips(query.lips, self.space, self.inner)
        return F.pad(
            (resized(blanked(query.own_crop, self.space), self.inner) + lips / 2).clamp(0, 1),
            self.pad,
            mode="replicate",
        )


class Translator(TrainableTexture[Options]):
    """A texture method that translates pictures. Subclasses build `self.canvas` and `self.nets["generator"]`."""

    canvas: Canvas

    def index(self, bank: MouthBank) -> None:
        self.shows = (_TAKES_OVER * lower_face(bank.space, self.device)).clamp(max=1)

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, None]:
        """Mouths at the crop's own size, within the frame's own surroundings."""
        mouth = self.canvas.to_crop(self.picture(self.canvas.draw_query(query)))
        return torch.lerp(query.own_crop, mouth, self.shows), None

    def picture(self, query: torch.Tensor) -> torch.Tensor:
        """(B,3,h,w) float32 in [0,1]: the generator's answer."""
        return from_signed(self.nets["generator"](signed(query)))


def signed(picture: torch.Tensor) -> torch.Tensor:
    """[0,1] to [-1,1], channels innermost in memory, where convolutions are quicker."""
    return (picture * 2 - 1).contiguous(memory_format=torch.channels_last)


def from_signed(picture: torch.Tensor) -> torch.Tensor:
    return (picture.float() + 1) / 2


class Norm(nn.GroupNorm):
    """Normalises eight channels at a time within the picture (Wu and He 2018): with as many parameters as the papers'
    batch and instance normalisation, and on the CPU many times quicker than the latter."""

    def __init__(self, n: int) -> None:
        super().__init__(max(1, n // 8), n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias).to(
            x.dtype
        )  # in float32 it is quicker, too


class UNet(nn.Module):
    """The U-Net of pix2pix (Isola et al. 2017) without dropout: `levels` halvings by 4x4 convolutions, as many
    doublings, skips between.

    (B,n_in,h,w) to (B,n_out,h,w) in [-1,1]; sides must be multiples of 2**levels. n: channels of the first level; later
    ones have 2, 4, then 8 times as many. At n = 64 and 8 levels it is the published network for 256 px."""

    def __init__(self, n_in: int, n_out: int, n: int = 64, levels: int = 8) -> None:
        super().__init__()
        wide = [n * min(2**level, 8) for level in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (a, b) in enumerate(zip([n_in, *wide], wide, strict=False)):
            ends = level in (0, levels - 1)
            before = [] if level == 0 else [nn.LeakyReLU(0.2)]
            self.down.append(nn.Sequential(*before, nn.Conv2d(a, b, 4, 2, 1, bias=False), *([] if ends else [Norm(b)])))
        for level in reversed(range(levels)):
            a = wide[level] * (1 if level == levels - 1 else 2)
            b, last = (wide[level - 1], [Norm(wide[level - 1])]) if level else (n_out, [nn.Tanh()])
            self.up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=level == 0), *last))
        self.apply(start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.up[0](skips.pop())
        for up in self.up[1:]:
            x = up(torch.cat([skips.pop(), x], 1))
        return x


class PatchDiscriminator(nn.Module):
    """The PatchGAN of pix2pix (Isola et al. 2017): (B,n_in,h,w) to its layers, the last being (B,1,h',w') logits of
    patches.

    halvings: 3 for patches of 70x70 pixels; n: channels of the first layer, then 2, 4, 8 times as many.
    """

    def __init__(self, n_in: int, n: int = 64, halvings: int = 3) -> None:
        super().__init__()
        wide = [n * min(2**level, 8) for level in range(halvings + 1)]
        self.layers = nn.ModuleList([nn.Sequential(*patch_layer(n_in, n))])
        for level, (a, b) in enumerate(pairwise(wide)):
            stride = 2 if level < halvings - 1 else 1
            self.layers.append(nn.Sequential(*patch_layer(a, b, stride, Norm(b))))
        self.layers.append(nn.Conv2d(wide[-1], 1, 4, 1, 1))
        self.apply(start)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        return seen


def start(layer: nn.Module) -> None:
    """Weights as pix2pix starts them: normal, of spread 0.02."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class Coarse(nn.Module):
    """The global generator of pix2pixHD (Wang et al. 2018): halved twice, residual blocks, doubled twice.

    (B,n_in,h,w) to ((B,n_out,h,w) in [-1,1], (B,n,h,w) its last features); sides must be multiples of 4.
    """

    def __init__(self, n_in: int, n_out: int, n: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *layer(n_in, n, 7),
            *layer(n, 2 * n, 3, 2),
            *layer(2 * n, 4 * n, 3, 2),
            *(Block(4 * n) for _ in range(blocks)),
            *doubled(4 * n, 2 * n),
            *doubled(2 * n, n),
        )
        self.out = nn.Sequential(nn.Conv2d(n, n_out, 7, 1, 3, padding_mode="reflect"), nn.Tanh())
        self.apply(start)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(x)
        return self.out(features), features


class CoarseToFine(nn.Module):
    """The generator of pix2pixHD (Wang et al. 2018): a global generator at half the size, whose features a local
    enhancer goes on from.

    (B,n_in,h,w) to ((B,n_out,h,w), (B,n_out,h/2,w/2)) fine and coarse pictures in [-1,1]; sides must be multiples of 8.
    n: channels at half the size.
    """

    def __init__(self, n_in: int, n_out: int, n: int, blocks: int, fine_blocks: int) -> None:
        super().__init__()
        self.coarse = Coarse(n_in, n_out, n, blocks)
        self.enter = nn.Sequential(*layer(n_in, n // 2, 7), *layer(n // 2, n, 3, 2))
        self.leave = nn.Sequential(
            *(Block(n) for _ in range(fine_blocks)),
            *doubled(n, n // 2),
            nn.Conv2d(n // 2, n_out, 7, 1, 3, padding_mode="reflect"),
            nn.Tanh(),
        )
        self.enter.apply(start)
        self.leave.apply(start)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coarse, features = self.coarse(F.avg_pool2d(x, 2))
        return self.leave(self.enter(x) + features), coarse


class Discriminators(nn.Module):
    """The discriminators of pix2pixHD (Wang et al. 2018): one PatchGAN for each scale, each next one at half the
    size."""

    def __init__(self, n_in: int, n: int, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(n_in, n) for _ in range(scales))

    def forward(self, x: torch.Tensor) -> list[list[torch.Tensor]]:
        seen = []
        for discriminator in self.scales:
            seen.append(discriminator(x))
            x = F.avg_pool2d(x, 2)
        return seen


class ResUNet(nn.Module):
    """The generator of FSGAN (Nirkin et al. 2019): a U-Net of residual blocks, doubled bilinearly, its skips added,
    at half the size, and a last layer at the full one that sees the picture again.

    (B,n_in,h,w) picture and (B,n_maps,h/2,w/2) maps, such as heatmaps of landmarks, to (B,n_out,h,w) and
    (B,n_parts,h/2,w/2) numbers of any size; sides must be multiples of 2**(levels+1). n: channels of the first level;
    later ones have 2, then 4 times as many."""

    def __init__(
        self, n_in: int, n_maps: int, n_out: int, n_parts: int, n: int, levels: int = 3, blocks: int = 2
    ) -> None:
        super().__init__()
        wide = [n * min(2**level, 4) for level in range(levels + 1)]
        self.enter = nn.Sequential(*layer(n_in, n, 3, 2))
        self.join = nn.Sequential(*layer(n + n_maps, n, 3), Block(n))
        steps = list(pairwise(wide))
        self.down = nn.ModuleList(nn.Sequential(*layer(a, b, 3, 2), *layer(b, b, 3)) for a, b in steps)
        self.deep = nn.Sequential(*(Block(wide[-1]) for _ in range(blocks)))
        self.up = nn.ModuleList(nn.Sequential(smoothly_doubled(), *layer(b, a, 3)) for a, b in reversed(steps))
        self.parts = nn.Conv2d(n, n_parts, 3, 1, 1) if n_parts else None
        self.grow = smoothly_doubled()
        self.leave = nn.Sequential(*layer(n + n_in, n, 3), nn.Conv2d(n, n_out, 3, 1, 1, padding_mode="reflect"))
        self.apply(start)

    def forward(self, x: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        y = self.join(torch.cat([self.enter(x), maps], 1))
        skips = []
        for down in self.down:
            skips.append(y)
            y = down(y)
        y = self.deep(y)
        for up in self.up:
            y = skips.pop() + up(y)
        parts = None if self.parts is None else self.parts(y)
        return self.leave(torch.cat([self.grow(y), x], 1)), parts


def smoothly_doubled() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


class Block(nn.Module):
    """Two convolutions beside the identity (He et al. 2016)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*layer(n, n, 3), *layer(n, n, 3)[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def layer(n_in: int, n_out: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False, padding_mode="reflect"),
        Norm(n_out),
        nn.ReLU(True),
    ]


def doubled(n_in: int, n_out: int) -> list[nn.Module]:
    """Twice the size. The paper's transposed 3x3 convolutions leave a chequered pattern (Odena et al. 2016)."""
    return [nn.Upsample(scale_factor=2), *layer(n_in, n_out, 3)]
