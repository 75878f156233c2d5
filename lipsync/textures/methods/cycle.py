"""The weighted median over a bank whose mouths from *other* footage were first given the target's appearance: its
light, its camera.

The footage's light is first brought to the target's mean colour; the rest is learnt without pairs (CycleGAN: Zhu et al.
2017): two generators, there and back; a discriminator for each appearance (least squares: Mao et al. 2017); there and
back again must be the start, and a mouth that has the appearance already must stay as it is. The generators are small
and cannot move anything: they mix the colours anew, place by place, and add or take away fine detail. Without other
footage there is nothing to transfer: both sides are the target's, and the median is drawn as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lipsync.config.textures import CycleConfig, MedianConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.texture import MouthTexture, Need, TextureQuery
from lipsync.core.types import MouthBank, MouthSpace, TargetAnalysis
from lipsync.textures.candidates import describe, fine_detail, laplacian
from lipsync.textures.methods.median import Method as Median
from lipsync.textures.nets import patch_layer
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch, TrainableTexture

#: Mouths transferred at once.
_AT_ONCE = 16


class Method(TrainableTexture[CycleConfig]):
    name = "cycle"
    needs = frozenset[Need]()
    Config = CycleConfig
    _window: tuple[slice, slice]
    _made: dict[str, torch.Tensor]
    radius = Median.radius

    def build(self, space: MouthSpace) -> None:
        """Two generators, kept in the weights, and two discriminators, which are not."""
        n = self.config.channels
        self.nets = nn.ModuleDict({"light": Light(), "to_target": Appearance(n), "to_footage": Appearance(n)})
        self.discriminators = nn.ModuleDict({"target": Discriminator(n), "footage": Discriminator(n)})

    def domains(self, subject: TargetAnalysis) -> np.ndarray | None:
        """(K,) 0 = the target's own mouths, 1 = of other footage; None without any. Shots are numbered film after
        film."""
        other = (subject.bank.shot > subject.track.shot.max()).astype(np.int64)
        return other if other.any() and not other.all() else None

    def begin(self, subject: TargetAnalysis, device: torch.device | str) -> Self:
        """Untrained. Until `prepare`, `render` shows what is learnt: the footage's mouth nearest to the wanted lips, in
        the target's appearance."""
        self.bank, self.domain = subject.bank, self.domains(subject)
        self.sources = np.arange(len(self.bank)) if self.domain is None else np.flatnonzero(self.domain)
        self.shapes = (
            torch.from_numpy(describe(self.bank.lips[self.sources], self.bank.pose[self.sources], MedianConfig()))
            .float()
            .to(device)
        )
        self.median, self.radius = None, 0
        other = 0 if self.domain is None else len(self.sources)
        self.remarks = {
            "footage_mouths": other,
            "transfer": "from other footage" if other else "none: there is no other footage",
        }
        super().begin(subject, device)
        if self.domain is not None:
            light = mean_colour(self.bank, self.domain == 0) / mean_colour(self.bank, self.domain == 1).clamp_min(1e-2)
            self.nets["light"].get_buffer("gain").copy_(light)
        return self

    def prepare(self, subject: TargetAnalysis, device: torch.device | str) -> Self:
        """Ready to draw: all mouths of other footage transferred, on disk. LipsyncError: no weights, another's, or no
        room."""
        super().prepare(subject, device)
        domain = self.domains(subject)
        bank = subject.bank if domain is None else self.transferred(subject.bank, domain == 1)
        self.median = Median().prepare(replace(subject, bank=bank), device)
        self.radius, self.needs = self.median.radius, self.median.needs
        return self

    def render(self, query: TextureQuery) -> MouthTexture:
        """The median of real and transferred mouths."""
        return super().render(query) if self.median is None else self.median.render(query)

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, None]:
        """For training's judge: the transferred mouth whose lips and pose are nearest to the wanted ones."""
        near = torch.cdist(describe(query.lips, query.pose, MedianConfig()), self.shapes).argmin(1).cpu().numpy()
        return self._in_target_appearance(self._pictures(self.bank.take(self.sources[near]))), None

    def error(self, drawn: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """How far the appearance is from the target's; that a neighbour's mouth is another mouth does not count."""
        return appearance_distance(drawn, truth)

    def transferred(self, bank: MouthBank, other: np.ndarray) -> MouthBank:
        """The bank with its (K,) bool `other` mouths in the target's appearance; the pictures are in a temporary file
        that goes with the object."""
        sharpness = bank.sharpness.copy()
        with tempfile.TemporaryFile(prefix="lipsync-") as file, torch.no_grad():
            for start in range(0, len(bank), _AT_ONCE):
                rows = np.arange(start, min(start + _AT_ONCE, len(bank)))
                crops, moved = bank.take(rows), other[rows]
                if moved.any():
                    before = self._pictures(crops[moved])
                    after = self._in_target_appearance(before).clamp(0, 1)
                    sharpness[rows[moved]] *= (edge_energy(after) / edge_energy(before).clamp_min(1e-8)).cpu().numpy()
                    crops[moved] = (after * 255).round().byte().cpu().numpy()
                try:
                    file.write(crops.tobytes())
                    file.flush()
                except OSError as trouble:
                    where = f"the temporary folder {tempfile.gettempdir()}"
                    raise LipsyncError(
                        f"{len(bank)} transferred mouths find no room in {where} ({trouble}). Make room, or set TMPDIR."
                    ) from None
            return replace(bank, crops=np.memmap(file, np.uint8, "r", shape=bank.crops.shape), sharpness=sharpness)

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        """Both generators, then both discriminators, on the same window of the same mouths."""
        game, config = losses.gan("lsgan"), self.config

        def generators(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            self.discriminators.requires_grad_(False)  # here they only judge
            self._window = _window(batch.truth, config.width)
            theirs, ours = self._sides(batch)
            there, ours_again = self.nets["to_target"](torch.cat([theirs, ours])).split([len(theirs), len(ours)])
            back, theirs_again = self.nets["to_footage"](torch.cat([ours, theirs])).split([len(ours), len(theirs)])
            self._made = {"target": there.detach(), "footage": back.detach()}
            round_trips = losses.l1(self.nets["to_footage"](there), theirs) + losses.l1(
                self.nets["to_target"](back), ours
            )
            return {
                "fool": game.generator(self._judged("target", there)) + game.generator(self._judged("footage", back)),
                "cycle": config.cycle * round_trips,
                "identity": config.identity * (losses.l1(ours_again, ours) + losses.l1(theirs_again, theirs)),
            }

        def discriminators(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            self.discriminators.requires_grad_(True)
            theirs, ours = self._sides(batch)
            real = {"target": ours, "footage": theirs}
            return {
                f"discriminator_{side}": 0.5
                * (game.real(self._judged(side, rgb)) + game.fake(self._judged(side, self._made[side])))
                for side, rgb in real.items()
            }

        return [
            Objective("generators", self.nets, generators, config.rate),
            Objective("discriminators", self.discriminators, discriminators, config.rate),
        ]

    def _sides(self, batch: TextureBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The window of the footage's mouths and of the target's; where all are of one kind, two halves of them."""
        other = np.zeros(len(batch.truth), bool) if self.domain is None else self.domain[batch.row.cpu().numpy()] == 1
        if other.all() or not other.any():
            other = np.arange(len(other)) % 2 == 0
        rgb = batch.truth[(..., *self._window)]
        return self.nets["light"](rgb[torch.from_numpy(other).to(rgb.device)]), rgb[
            torch.from_numpy(~other).to(rgb.device)
        ]

    def _judged(self, side: str, rgb: torch.Tensor) -> torch.Tensor:
        """The discriminator's logits of every patch; it knows which part of the crop it sees."""
        at = _places(self.space, rgb.device)[(..., *self._window)]
        return self.discriminators[side](torch.cat([with_detail(rgb), at.expand(len(rgb), -1, -1, -1)], 1))

    def _in_target_appearance(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.nets["to_target"](self.nets["light"](rgb))

    def _pictures(self, crops: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(crops).to(self.device).float() / 255


class Light(nn.Module):
    """(B,3,H,W) pictures of the footage in light of the target's colour and strength: every channel in proportion (von
    Kries 1902)."""

    gain: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(3))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return rgb * self.gain[:, None, None]


class Appearance(nn.Module):
    """(B,3,H,W) pictures in the other appearance, any size: colours mixed by a coarse grid of matrices, fine detail
    added. Untrained: unchanged."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            *_layer(3, n, 2), *_layer(n, 2 * n, 2), *_layer(2 * n, 3 * n, 2), *_layer(3 * n, 3 * n)
        )
        self.whole, self.part = nn.Linear(3 * n, 12), nn.Conv2d(3 * n, 12, 1)
        half = n // 2
        detail = [*_layer(6, half), *_layer(half, half), *_layer(half, half)]
        colours = nn.Conv2d(half, 3, 3, 1, 1, padding_mode="replicate")
        self.fine = nn.Sequential(*detail, colours)
        for last in (self.whole, self.part, colours):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.get_parameter("bias"))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        height, width = rgb.shape[2:]
        x = F.pad(rgb, (0, -width % 8, 0, -height % 8), mode="replicate")
        coarse = self.coarse(x)
        mix = self.part(coarse).float() + self.whole(coarse.mean((2, 3))).float()[..., None, None]
        mix = F.interpolate(mix, size=x.shape[2:], mode="bilinear", align_corners=False).unflatten(1, (3, 4))
        ones = torch.ones_like(x[:, :1])
        made = x + (mix * torch.cat([x - 0.5, ones], 1)[:, None]).sum(2) + self.fine(with_detail(x)).float()
        return made[..., :height, :width]


class Discriminator(nn.Sequential):
    """(B,1,h,w) is each patch of 34x34 pixels filmed? From (B,8,H,W): colours, their fine detail, and where in the
    crop."""

    def __init__(self, n: int) -> None:
        sizes = ((8, n, 2), (n, 2 * n, 2), (2 * n, 2 * n, 1))
        layers = [layer for n_in, n_out, stride in sizes for layer in patch_layer(n_in, n_out, stride)]
        super().__init__(*layers, nn.Conv2d(2 * n, 1, 4, 1, 1))


def with_detail(rgb: torch.Tensor) -> torch.Tensor:
    """(B,6,H,W) the pictures, and what a 3x3 mean would remove, as strong as the colours: blur and grain are seen from
    the first step on."""
    return torch.cat([rgb, 10 * fine_detail(rgb, 1)], 1)


def mean_colour(bank: MouthBank, chosen: np.ndarray, n: int = 200) -> torch.Tensor:
    """(3,) in [0,1], over n of the (K,) bool chosen mouths."""
    rows = np.flatnonzero(chosen)[np.linspace(0, chosen.sum() - 1, n).astype(int)]
    return torch.from_numpy(bank.take(np.unique(rows)).mean((0, 2, 3), dtype=np.float64) / 255).float()


def appearance_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Between all patches of 5x5 pixels of (B,3,H,W) a and of b, at three scales, in standard deviations of b: sliced
    Wasserstein distance (Rabin et al. 2011; between pictures: Karras et al. 2018)."""
    ways = torch.randn(48, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    ways = (ways / ways.flatten(1).norm(dim=1)[:, None, None, None]).to(a.device)
    apart = []
    for last in (False, False, True):
        smaller = [F.avg_pool2d(x, 2) for x in (a, b)]
        bands = (
            (a, b)
            if last
            else [
                x - F.interpolate(small, x.shape[2:], mode="bilinear") for x, small in zip((a, b), smaller, strict=True)
            ]
        )
        ours, theirs = (F.conv2d(x, ways, stride=3).transpose(0, 1).flatten(1).sort(1).values for x in bands)
        apart.append((ours - theirs).abs().mean() / theirs.std(1).mean().clamp_min(1e-4))
        a, b = smaller
    return torch.stack(apart).mean()


def edge_energy(rgb: torch.Tensor) -> torch.Tensor:
    """(B,) variance of the Laplacian over the middle of (B,3,H,W) pictures."""
    height, width = rgb.shape[2:]
    return laplacian(rgb[..., height // 4 : -height // 4, width // 4 : -width // 4]).var((1, 2, 3))


def _layer(n_in: int, n_out: int, stride: int = 1) -> list[nn.Module]:
    """No normalisation: the level of a colour is what this is about."""
    return [nn.Conv2d(n_in, n_out, 3, stride, 1, padding_mode="replicate"), nn.LeakyReLU(0.2)]


def _window(pictures: torch.Tensor, side: int) -> tuple[slice, slice]:
    """A part of the picture by lot, at most side x side: full detail at a fraction of the work."""
    rows, columns = (
        slice(start := int(torch.randint(0, max(n - side, 0) + 1, ())), start + min(n, side))
        for n in pictures.shape[2:]
    )
    return rows, columns


def _places(space: MouthSpace, device: torch.device) -> torch.Tensor:
    """(1,2,Hm,Wm) across and down, -1 to 1."""
    down, across = (torch.linspace(-1, 1, n, device=device) for n in (space.height, space.width))
    return torch.stack(torch.meshgrid(across, down, indexing="xy"))[None]
