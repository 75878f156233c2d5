"""Reenactment of FSGAN (Nirkin, Keller and Hassner 2019) for the mouth: a generator turns a source picture and heatmaps
of the wanted landmarks into the picture with these landmarks, and says what each pixel shows.

Sources are the real mouths around the wanted one on the appearance map (`lipsync.textures.views`), set into the frame's
own surroundings; their reenactments are blended by the map's barycentric weights. What no source shows, because
something was held before it or its mouth was closed, a second network completes. The frame's own crop is reenacted as
well: where its mask finds something before the face, alpha falls; `own` says how much of its picture is seen.

Pairs (source, landmarks of another frame) are learnt in one step and in two, by the landmarks half-way: reconstruction
by perceptual and pixel terms, adversarial and segmentation terms, with the paper's weights but for the pixels'.

Beyond the paper: one person, learnt in minutes; the lips' contours beside the heatmaps; the map's views are warped onto
the wanted lips first, and a gate says where they are painted over (half of the pairs are such; the other sources are
any, and about the lips all is painted); and what is finer in the views than the network's pixels is put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lipsync.config.textures import FsganConfig
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, soft_step
from lipsync.core.runtime import channels_last
from lipsync.core.texture import TextureQuery
from lipsync.core.types import N_LIPS, MouthSpace, TargetAnalysis
from lipsync.textures.augmentation import covered
from lipsync.textures.candidates import CandidateWarp, Mouths, around_lips, resampling_loss, resharpened
from lipsync.textures.nets import drawn_lips, heatmaps, lip_parts, lower_face, near_lips, net_size, resized
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch, TrainableTexture
from lipsync.textures.translation import Discriminators, ResUNet, signed
from lipsync.textures.views import Views

#: What a pixel shows: the first three as `lip_parts` says; the last is what is held before the face.
_OPENING, _HELD, _N_PARTS = 2, 3, 4
#: The part of the jaw line inside the crop, and how many maps there are: of lips, jaw, the lips' contours, the hill.
_JAW = slice(3, 14)
_N_MAPS = N_LIPS + 11 + 3 + 1
#: How steep the hill is inside which nothing of the source is copied: it reaches as far as a mouth.
_STEEP = 3.0
#: Width of a landmark's heatmap, eye distances.
_SPREAD = 0.03
#: How fast the drawn mouth takes over inside the redrawn region.
_TAKES_OVER = 2.0
#: A view of a smaller share is not seen.
_LEAST = 0.004
#: In training, no source of the same shot is nearer in time than this many frames.
_APART = 13
#: In training, half of the sources are one of so many nearest views.
_NEAREST = 4
#: A mouth shows the inside of another if it is opened at least this much of the other's opening.
_ENOUGH, _CLOSED = 0.6, 0.005
#: What views of this share together show needs no completing.
_SUFFICES = 0.25


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Reenacted training rows: pictures of net size, detached. inside: (B,1,h,w) the wanted opening."""

    drawn: torch.Tensor
    truth: torch.Tensor
    maps: torch.Tensor
    inside: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Sources:
    """Views to draw a query's rows from. row: (N,) the query's rows; rows: (N,) the bank's, on the CPU; part: (N,)
    their shares, which add up to 1 for each row; mouths: (N,3,Hm,Wm) in [0,1], warped onto the wanted lips."""

    row: torch.Tensor
    rows: torch.Tensor
    part: torch.Tensor
    mouths: torch.Tensor


class Method(TrainableTexture[FsganConfig]):
    name = "fsgan"
    Config = FsganConfig
    _pairs: _Pairs

    def build(self, space: MouthSpace) -> None:
        config = self.config
        shape = {"levels": config.levels, "blocks": config.blocks}
        self.nets["reenactment"] = ResUNet(3, _N_MAPS, 4, _N_PARTS, config.channels, **shape)
        self.nets["completion"] = ResUNet(4, _N_MAPS, 3, 0, config.completion_channels, **shape)
        self.nets["reenactment"].register_buffer("steps", torch.zeros((), dtype=torch.int64))  # learnt so far
        channels_last(self.nets)

    def _place(self, subject: TargetAnalysis, device: torch.device | str) -> None:
        super()._place(subject, device)
        bank, space = subject.bank, self.space
        self.size = net_size(space, self.config.width, 2 ** (self.config.levels + 1))
        self.half = (self.size[0] // 2, self.size[1] // 2)
        self.mouths, self.views = Mouths(bank, self.device), Views(bank, self.config)
        self.warp, self.resampling_loss = CandidateWarp(space, self.device), resampling_loss(subject)
        region = lower_face(space, self.device)
        self.shows = (_TAKES_OVER * region).clamp(max=1)
        self.region, self.shows_small = region, resized(self.shows, self.size)
        self.places = torch.from_numpy(self.views.places[:, self.views.axes]).float()
        self.shot, self.source = torch.from_numpy(bank.shot.copy()), torch.from_numpy(bank.source.copy())

    # --- drawing ---

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, torch.Tensor]:
        views = self.warped(query, *self.views.around(query.lips, query.pose))
        mouth, seen, alpha = self.reenacted(query, views)
        mouth = self._detailed(resized(mouth, self.shows.shape[2:]), seen, query, views)
        return torch.lerp(query.own_crop, mouth, self.shows), alpha

    def warped(self, query: TextureQuery, index: torch.Tensor, share: torch.Tensor) -> _Sources:
        """The (B,C) bank rows that have a part of the (B,C) shares, warped onto the wanted lips."""
        share = share * (share > _LEAST)
        row, corner = share.nonzero(as_tuple=True)
        part, rows = (share / share.sum(1, keepdim=True))[row, corner].to(self.device), index[row, corner]
        row = row.to(self.device)
        return _Sources(row, rows, part, self._warped(rows, query.lips[row], query.pose[row]))

    def _warped(self, rows: torch.Tensor, lips: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """(N,3,Hm,Wm) in [0,1]: the mouths of (N,) bank rows, warped onto (N,18,2) lips and the jaw that goes with
        them."""
        at = rows.to(self.device)[:, None]
        field = self.warp.fields(lips, self.jaw_of(lips, pose), self.mouths.lips[at], self.mouths.jaw[at])[:, 0]
        return self.warp.apply(self._mouths_of(rows), field)

    def _mouths_of(self, rows: torch.Tensor) -> torch.Tensor:
        """(N,3,Hm,Wm) in [0,1] of (N,) bank rows on the CPU."""
        return self.mouths.crops(rows).to(self.device).float() / 255

    def reenacted(self, query: TextureQuery, views: _Sources) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of net size: (B,3,h,w) mouths blended of the reenacted views, and completed; (B,1,h,w) how much of them the
        views show; and (B,1,h/2,w/2) how much is free of what is held before the frame's own."""
        crop, maps = query.own_crop, self.maps(query.lips, query.pose)
        every = torch.cat([torch.arange(len(crop), device=self.device), views.row])
        part = torch.cat([views.part.new_full((len(crop),), self.config.own), (1 - self.config.own) * views.part])
        sources = torch.cat([resized(crop, self.size), self.pasted(crop[views.row], views.mouths)])
        pictures, logits = self.reenact(sources, torch.cat([maps, may_copy(maps[views.row])]))
        free = 1 - held(logits)
        gap = torch.cat([gap_of(query.lips) * 0, gap_of(self.mouths.lips[views.rows.to(self.device)])])
        inside = self._inside(query.lips)[every]
        weight = self.shown(free, inside, gap, gap_of(query.lips)[every]) * part[:, None, None, None]
        total = torch.zeros_like(inside[: len(crop)]).index_add_(0, every, weight)
        mean = torch.zeros_like(pictures[: len(crop)]).index_add_(0, every, weight * pictures) / total.clamp_min(1e-4)
        seen = (total / _SUFFICES).clamp(max=1)
        return self.completed(mean, seen, maps), seen, free[: len(crop)]

    def shown(self, free: torch.Tensor, inside: torch.Tensor, gap: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """(N,1,h,w) how much of the wanted mouth a source shows: not what is held before it, (N,1,h/2,w/2) `free` of
        it, and not the `inside` where its (N,) gap is much less than the wanted one."""
        opened = ((gap + _CLOSED) / (_ENOUGH * wanted + _CLOSED)).clamp(0, 1)[:, None, None, None]
        return resized(free, self.size).clamp(0, 1) * (1 - inside * (1 - opened))

    def reenact(self, source: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,3,h,w) the sources with the landmarks of the (N,P,h/2,w/2) maps, and (N,4,h/2,w/2) logits of what these
        show. About the wanted lips all is painted: a gate that may copy there learns to copy, and never to reenact."""
        made, logits = self.nets["reenactment"](signed(source), maps)
        painted, gate = made.float().sigmoid().split([3, 1], 1)
        anyway = resized(maps[:, -1:], self.size).clamp(0, 1)
        return torch.lerp(source, painted, torch.maximum(gate, anyway)), logits.float()

    def completed(self, mouth: torch.Tensor, seen: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """The (B,3,h,w) mouths, drawn anew as far as they are not (B,1,h,w) seen."""
        if not torch.is_grad_enabled() and float(seen.min()) > 0.999:
            return mouth
        known = torch.cat([torch.lerp(torch.full_like(mouth, 0.5), mouth, seen), seen], 1)
        painted = self.nets["completion"](signed(known), maps)[0].float().sigmoid()
        return torch.lerp(painted, mouth, seen)

    def maps(self, lips: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """(B,P,h/2,w/2) heatmaps of (B,18,2) lips and the jaw that goes with them, the contours of the lips, and the
        hill about them where nothing is copied."""
        points = torch.cat([lips, self.jaw_of(lips, pose)[:, _JAW]], 1)
        landmarks = heatmaps(points, self.space, self.half, _SPREAD)
        hill = (_STEEP * near_lips(lips, self.space, self.half)).clamp(max=1)
        return torch.cat([landmarks, drawn_lips(lips, self.space, self.half), hill], 1)

    def pasted(self, crop: torch.Tensor, mouths: torch.Tensor) -> torch.Tensor:
        """(N,3,h,w) the (N,3,Hm,Wm) mouths in the surroundings of as many crops, of whose own mouths nothing is
        left."""
        return resized(torch.where(self.region > 0, mouths, crop), self.size)

    def _inside(self, lips: torch.Tensor) -> torch.Tensor:
        """(B,1,h,w) in [0,1]: the opening of (B,18,2) lips."""
        return resized((lip_parts(lips, self.space, self.half) == _OPENING)[:, None].float(), self.size).clamp(0, 1)

    def _detailed(self, mouth: torch.Tensor, seen: torch.Tensor, query: TextureQuery, views: _Sources) -> torch.Tensor:
        """The (B,3,Hm,Wm) mouths with the detail of their warped views that is finer than the network's pixels; as
        sharp as the views are."""
        full = mouth.shape[2:]
        strength = self.config.detail * resized(seen, full).clamp(0, 1)
        drawn = []
        for b, rgb in enumerate(mouth):
            mine = views.row == b
            weight, filmed = views.part[mine], self._mouths_of(views.rows[mine.cpu()])
            mean = (views.mouths[mine] * weight[:, None, None, None]).sum(0, keepdim=True)
            rgb = rgb + (strength[b] * (mean - resized(resized(mean, self.size), full)))[0]
            given = (weight, query.lips[b], self.space, self.resampling_loss, self.config.resharpen)
            drawn.append(resharpened(rgb, around_lips(filmed, query.lips[b], self.space), *given))
        return torch.stack(drawn)

    # --- learning ---

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        """The reenactment, the completion, then the discriminators of pictures at two scales."""
        config, game = self.config, losses.gan("lsgan")
        discriminators = Discriminators(3, config.discriminator_channels)

        def rebuilt(drawn: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                "perceptual": config.perceptual * losses.features(drawn, truth),
                "pixel": 2 * config.pixel * losses.l1(drawn, truth),  # the paper's is for pictures in [-1,1]
            }

        def judged(drawn: torch.Tensor) -> list[torch.Tensor]:
            return [layers[-1] for layers in discriminators(signed(drawn))]

        def fooling(drawn: torch.Tensor) -> torch.Tensor:
            return config.adversarial * torch.stack([game.generator(logits) for logits in judged(drawn)]).mean()

        def reenactment(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            discriminators.requires_grad_(False)
            drawn, mistaken = self._learnt_pairs(batch)
            truth = self._pairs.truth
            terms = rebuilt(drawn, torch.cat([truth, truth])[: len(drawn)]) | {
                "fools": fooling(drawn[: len(batch.truth)])
            }
            return terms | {"parts": config.segmentation * mistaken}

        def completion(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            pairs = self._pairs
            drawn = self.completed(pairs.drawn, 1 - self._holes(pairs), pairs.maps)
            drawn = torch.lerp(pairs.truth, drawn, self.shows_small)
            return {f"completed {name}": term for name, term in rebuilt(drawn, pairs.truth).items()} | {
                "completed fools": fooling(drawn)
            }

        def discriminate(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            discriminators.requires_grad_(True)
            real, fake = judged(self._pairs.truth), judged(self._pairs.drawn)
            return {
                "real": 0.5 * torch.stack([game.real(logits) for logits in real]).mean(),
                "fake": 0.5 * torch.stack([game.fake(logits) for logits in fake]).mean(),
            }

        return [
            Objective("reenactment", self.nets["reenactment"], reenactment, config.rate),
            Objective("completion", self.nets["completion"], completion, config.rate),
            Objective("discriminators", discriminators, discriminate, config.rate),
        ]

    def _learnt_pairs(self, batch: TextureBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """(B+T,3,h,w) the truths' mouths, reenacted from other rows of the bank in one step, then the first T of them
        in two; and the cross entropy of what they show. Where something is held before the source, and around the
        mouth, they are the truth.

        The segmentation of what two steps drew counts the more, the longer it learns: from 0 to 1 (the paper's weight
        of the segmentation of reenacted faces)."""
        query, net = batch.query, self.nets["reenactment"]
        truth, rows, unlike = resized(batch.truth, self.size), self.sources(batch.row), len(batch.row) // 2
        mouths = self._mouths_of(rows)
        mouths[unlike:] = self._warped(rows[unlike:], query.lips[unlike:], query.pose[unlike:])
        shape, (source, _) = covered(self.pasted(query.own_crop, mouths), truth, self.config.covered)
        maps = self.maps(query.lips, query.pose)
        parts = lip_parts(query.lips, self.space, self.half)
        parts[resized(shape, self.half)[:, 0] > 0.5] = _HELD
        picture, logits = self.reenact(source, torch.cat([maps[:unlike], may_copy(maps[unlike:])]))
        mistaken = F.cross_entropy(logits, parts)
        learnt = net.get_buffer("steps").add_(1) / self.config.steps
        two = round(self.config.stepwise * unlike)
        if two:
            lips = (query.lips[:two] + self.mouths.lips[rows[:two].to(self.device)]) / 2
            halfway, _ = self.reenact(source[:two], self.maps(lips, query.pose[:two]))
            again, logits = self.reenact(halfway, maps[:two])
            picture = torch.cat([picture, again])
            mistaken = mistaken + learnt.clamp(max=1) * F.cross_entropy(logits, parts[:two])
        every = torch.cat([torch.arange(len(truth)), torch.arange(two)])
        drawn = torch.lerp(truth[every], picture, (self.shows_small * (1 - shape))[every])
        self._pairs = _Pairs(drawn[: len(truth)].detach(), truth, maps, self._inside(query.lips))
        return drawn, mistaken

    def _holes(self, pairs: _Pairs) -> torch.Tensor:
        """(B,1,h,w) in [0,1]: what is erased to be drawn anew: shapes by lot, half of the time the opening."""
        shape, _ = covered(pairs.drawn, pairs.truth, 0.7)
        closed = (torch.rand(len(shape), 1, 1, 1) < 0.5).to(self.device)
        return torch.maximum(shape, pairs.inside * closed)

    def sources(self, rows: torch.Tensor) -> torch.Tensor:
        """(B,) bank rows on the CPU to draw the (B,) rows from, none near them in time: for the first half any, for the
        others one of the nearest on the map."""
        distance = self._apart(rows)
        anyone = torch.multinomial((distance < torch.inf).float().clamp_min(1e-9), 1)[:, 0]
        nearest = distance.topk(min(_NEAREST, distance.shape[1]), largest=False).indices
        near = nearest.gather(1, torch.randint(0, nearest.shape[1], (len(rows), 1)))[:, 0]
        return torch.cat([anyone[: len(rows) // 2], near[len(rows) // 2 :]])

    def _apart(self, rows: torch.Tensor) -> torch.Tensor:
        """(B,K) how far the bank's mouths are on the map from its (B,) rows; infinite for their neighbours in time."""
        rows = rows.cpu()
        near = (self.shot == self.shot[rows, None]) & ((self.source - self.source[rows, None]).abs() < _APART)
        return torch.cdist(self.places[rows], self.places).masked_fill(near, torch.inf)

    def answer(self, batch: TextureBatch) -> torch.Tensor:
        """Drawn from the nearest views that are no neighbours of the row in time, without their fine detail."""
        distance, index = self._apart(batch.row).topk(min(_NEAREST, len(self.places)), largest=False)
        share = 1 / (distance + 1e-3)
        share = share / share.sum(1, keepdim=True)
        views = self.warped(batch.query, index, share)
        mouth = resized(self.reenacted(batch.query, views)[0], self.shows.shape[2:])
        return torch.lerp(batch.query.own_crop, mouth, self.shows).clamp(0, 1)


def may_copy(maps: torch.Tensor) -> torch.Tensor:
    """The (N,P,h/2,w/2) maps without the hill: for sources whose lips are where they are wanted."""
    return torch.cat([maps[:, :-1], torch.zeros_like(maps[:, -1:])], 1)


def held(logits: torch.Tensor) -> torch.Tensor:
    """(N,1,h,w) in [0,1]: how surely something is held before the face, by (N,4,h,w) logits; 0 where it is as likely
    as not."""
    return soft_step(2 * logits.softmax(1)[:, _HELD:] - 1)


def gap_of(lips: torch.Tensor) -> torch.Tensor:
    """(N,) mean gap between the inner edges of (N,18,2) lips."""
    return (lips[:, LOWER_INNER, 1] - lips[:, UPPER_INNER, 1]).mean(1).clamp_min(0)
