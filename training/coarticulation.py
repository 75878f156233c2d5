"""Lips from phones: each sound pulls the lips towards its shape, before, while and after it sounds (Cohen and Massaro
1993).

A sound has a target (in principal components of the lips' offset from rest) and, for each group of components, a
dominance: how strong it is, how long before it rises and after it falls. Lips are the mean of the targets, weighted by
dominance. What a sound does is the sum of what its articulation does (jaw, rounding, ..., learned from all sounds that
share it) and of its own residue, so that sounds that were never seen are placed too. All of it is fitted to real lips
by gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from audio.features import FEATURE_RATE
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, opening, soft_step
from lipsync.core.types import LipTrack
from lipsync.store.cache import save_tensors
from lipsync.store.weights_file import read_weights_file
from media.atomic import atomic_write
from training.phones import BILABIALS, DIPHTHONGS, PHONES, SILENCE, VOWELS, Phones

FORMAT = "lipsync-coarticulation-1"
#: How a sound is made, 0 to 1: open jaw, rounded, spread, bilabial closure, lip to teeth, teeth together, tongue tip,
#: tongue back, tongue
#: behind the gums.
_MADE = {
    "aa": (1.0, 0.1, 0, 0, 0, 0, 0, 0, 0),
    "ae": (0.85, 0, 0.4, 0, 0, 0, 0, 0, 0),
    "ah": (0.65, 0.1, 0, 0, 0, 0, 0, 0, 0),
    "ao": (0.75, 0.6, 0, 0, 0, 0, 0, 0, 0),
    "ax": (0.4, 0.1, 0, 0, 0, 0, 0, 0, 0),
    "eh": (0.6, 0, 0.4, 0, 0, 0, 0, 0, 0),
    "er": (0.4, 0.5, 0, 0, 0, 0, 0, 0, 0),
    "ih": (0.35, 0, 0.5, 0, 0, 0, 0, 0, 0),
    "iy": (0.2, 0, 1.0, 0, 0, 0, 0, 0, 0),
    "uh": (0.3, 0.6, 0, 0, 0, 0, 0, 0, 0),
    "uw": (0.2, 1.0, 0, 0, 0, 0, 0, 0, 0),
    "w": (0.1, 1.0, 0, 0, 0, 0, 0, 0.3, 0),
    "y": (0.2, 0, 0.7, 0, 0, 0, 0, 0.3, 0),
    "r": (0.25, 0.6, 0, 0, 0, 0, 0.3, 0, 0),
    "l": (0.3, 0, 0.2, 0, 0, 0, 1, 0, 0),
    "p": (0, 0, 0, 1, 0, 0, 0, 0, 0),
    "b": (0, 0, 0, 1, 0, 0, 0, 0, 0),
    "m": (0, 0, 0, 1, 0, 0, 0, 0, 0),
    "f": (0, 0, 0.2, 0, 1, 0, 0, 0, 0),
    "v": (0, 0, 0.2, 0, 1, 0, 0, 0, 0),
    "th": (0.2, 0, 0.2, 0, 0, 0.3, 1, 0, 0),
    "dh": (0.2, 0, 0.2, 0, 0, 0.3, 1, 0, 0),
    "t": (0.1, 0, 0.2, 0, 0, 0.6, 0.8, 0, 0),
    "d": (0.1, 0, 0.2, 0, 0, 0.6, 0.8, 0, 0),
    "n": (0.15, 0, 0.2, 0, 0, 0.4, 0.8, 0, 0),
    "s": (0, 0, 0.4, 0, 0, 1, 0.5, 0, 0),
    "z": (0, 0, 0.4, 0, 0, 1, 0.5, 0, 0),
    "sh": (0, 0.8, 0, 0, 0, 1, 0.2, 0, 1),
    "zh": (0, 0.8, 0, 0, 0, 1, 0.2, 0, 1),
    "ch": (0, 0.75, 0, 0, 0, 1, 0.4, 0, 1),
    "jh": (0, 0.75, 0, 0, 0, 1, 0.4, 0, 1),
    "k": (0.3, 0, 0.1, 0, 0, 0, 0, 1, 0),
    "g": (0.3, 0, 0.1, 0, 0, 0, 0, 1, 0),
    "ng": (0.3, 0, 0.1, 0, 0, 0, 0, 1, 0),
    "hh": (0.4, 0, 0.1, 0, 0, 0, 0, 0.2, 0),
}
_GLIDES = {"aw": ("aa", "uh"), "ay": ("aa", "ih"), "ey": ("eh", "iy"), "ow": ("ao", "uw"), "oy": ("ao", "ih")}
#: Sounds without a residue of their own: GRID says them in "three" and "with" only, where their neighbours' rounding
#: would pass for theirs.
LIKE_THEIR_KIND = ("th", "dh")
#: Silence, the last moments of it before speech and the first after, the plain sounds, and both halves of the
#: diphthongs.
BEFORE, AFTER = "before speech", "after speech"
UNITS = (SILENCE, BEFORE, AFTER, *_MADE, *(f"{d}{half}" for d in sorted(DIPHTHONGS) for half in "12"))
_UNIT = {name: k for k, name in enumerate(UNITS)}
#: Seconds of a pause, at its ends, that are not quite rest: the breath before speech, the lips' way home after it.
BREATH_S, HOME_S = 0.24, 0.2
#: How long lips take to close for a bilabial, and to open after it, at most.
CLOSING_S = 0.06
N_COMPONENTS = 10
#: Components that share a dominance: opening, rounding, the third, all the smaller ones.
GROUP_OF = np.array([0, 1, 2] + [3] * (N_COMPONENTS - 3))
N_GROUPS = 4
#: Fitting: clips at a time; how dear residues are; how far and at what price boundaries may move, because an alignment
#: errs by some 20 ms
#: and lips fitted to wrong times come out slow and small.
BATCH = 48
RESIDUE = 4e-3
SLIP_S, SLIP = 0.02, 0.05
#: Squared error makes lips move too little; they are made to open as far as the real ones, at most this many times
#: further.
MOST_GAIN = 1.15


def articulation() -> torch.Tensor:
    """(U,12) how each unit is made, with a constant for all that sounds, and one each for vowels and silences."""
    rows = np.zeros((len(UNITS), 12), np.float32)
    for k, name in enumerate(UNITS):
        plain = _GLIDES[name[:-1]][int(name[-1]) - 1] if name[-1] in "12" else name
        if plain in _MADE:
            rows[k, :9] = _MADE[plain]
            rows[k, 9], rows[k, 10] = 1, plain in VOWELS
        else:
            rows[k, 11] = 1
    return torch.from_numpy(rows)


def units_of(phones: Phones) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Q,) index in UNITS, start and end in seconds: diphthongs in two halves, the ends of pauses apart."""
    unit, start, end = [], [], []
    last = len(phones) - 1
    for k, (name, first_s, stop_s) in enumerate(zip(phones.name, phones.start_s, phones.end_s, strict=True)):
        if name == SILENCE:
            parts = _pause(first_s, stop_s, at_start=k == 0, at_end=k == last)
        elif name in DIPHTHONGS:
            middle = (first_s + stop_s) / 2
            parts = [(f"{name}1", first_s, middle), (f"{name}2", middle, stop_s)]
        else:
            parts = [(name, first_s, stop_s)]
        for part, a, b in parts:
            unit.append(_UNIT[part])
            start.append(a)
            end.append(b)
    start, end = np.array(start), np.array(end)
    if UNITS[unit[0]] in (SILENCE, BEFORE):
        start[0] -= 1.0
    if UNITS[unit[-1]] in (SILENCE, AFTER):
        end[-1] += 1.0
    return np.array(unit), start, end


def _pause(first_s: float, stop_s: float, at_start: bool, at_end: bool) -> list[tuple[str, float, float]]:
    home = 0.0 if at_start else HOME_S
    breath = 0.0 if at_end else BREATH_S
    length = stop_s - first_s
    if length < 0.1 and not (at_start or at_end):
        return [(AFTER, first_s, (first_s + stop_s) / 2), (BEFORE, (first_s + stop_s) / 2, stop_s)]
    squeeze = min(1.0, 0.8 * length / max(home + breath, 1e-6))
    a, b = first_s + home * squeeze, stop_s - breath * squeeze
    parts = [(AFTER, first_s, a), (SILENCE, a, b), (BEFORE, b, stop_s)]
    return [part for part in parts if part[2] - part[1] > 1e-6]


class _Muscles(nn.Module):
    """Targets and dominances of all units, as articulation times weights, plus a residue of each unit's own."""

    made: torch.Tensor
    has_own: torch.Tensor
    sounding: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        made = articulation()
        n_made, n_units = made.shape[1], len(made)
        self.register_buffer("made", made)
        self.shape = nn.Parameter(torch.zeros(n_made, N_COMPONENTS))
        self.shape_own = nn.Parameter(torch.zeros(n_units, N_COMPONENTS))
        self.pull = nn.Parameter(torch.zeros(4, n_made, N_GROUPS))  # strength, rise, fall, lead
        self.pull_own = nn.Parameter(torch.zeros(4, n_units, N_GROUPS))
        self.sharp = nn.Parameter(torch.zeros(N_GROUPS))
        self.core = nn.Parameter(torch.zeros(N_GROUPS))
        self.register_buffer(
            "has_own", torch.tensor([[float(name not in (SILENCE, *LIKE_THEIR_KIND))] for name in UNITS])
        )
        self.register_buffer("sounding", torch.tensor([[float(name != SILENCE)] for name in UNITS]))

    def targets(self) -> torch.Tensor:
        """(U,K); silence is rest, 0."""
        return (self.made @ self.shape + self.shape_own * self.has_own) * self.sounding

    def dominances(self) -> tuple[torch.Tensor, ...]:
        """(U,G) each: logarithm of strength, rise and fall in seconds, lead in seconds."""
        strength, rise, fall, lead = self.made @ self.pull + self.pull_own * self.has_own
        return (
            strength.clamp(-4, 4),
            0.05 * torch.exp(rise.clamp(-2, 2)),
            0.05 * torch.exp(fall.clamp(-2, 2)),
            0.02 + 0.05 * torch.tanh(lead),
        )

    def forward(
        self, seconds: torch.Tensor, unit: torch.Tensor, start: torch.Tensor, end: torch.Tensor
    ) -> torch.Tensor:
        """(B,F,K) coefficients at (F,) seconds for (B,Q) units; unit -1 = none."""
        none = unit < 0
        unit = unit.clamp(min=0)
        strength, rise, fall, lead = (table[unit][:, None] for table in self.dominances())  # (B,1,Q,G)
        core = torch.sigmoid(self.core) * ((end - start).clamp(max=0.16) / 2)[..., None]  # (B,Q,G)
        t = seconds[None, :, None, None] + lead
        before = ((start[..., None] + core)[:, None] - t).clamp(min=1e-4) / rise
        after = (t - (end[..., None] - core)[:, None]).clamp(min=1e-4) / fall
        power = 1 + torch.sigmoid(self.sharp)
        weight = (
            (strength - before**power - after**power).masked_fill(none[:, None, :, None], -1e4).softmax(2)
        )  # (B,F,Q,G)
        target = self.targets()[unit] * ~none[..., None]  # (B,Q,K)
        groups = torch.from_numpy(GROUP_OF)
        return torch.cat(
            [torch.einsum("bfq,bqk->bfk", weight[..., g], target[..., groups == g]) for g in range(N_GROUPS)], -1
        )


class Coarticulation:
    """One speaker's way of moving the lips. components: (K,18,2) float32, orthonormal, of offsets from rest; gain: of
    all offsets."""

    def __init__(self, components: np.ndarray, muscles: _Muscles, gain: float = 1.0) -> None:
        self.components, self.muscles, self.gain = components, muscles, gain

    @classmethod
    def fit(
        cls, pairs: Sequence[tuple[Phones, LipTrack]], steps: int = 400, seed: int = 0, tell=None
    ) -> Coarticulation:
        """The muscles that move as these lips did.

        Each pair: phones, and lips as OFFSETS from rest on the same clock, 100 rows a second. Deterministic for a seed.
        """
        offsets = np.concatenate([track.points[track.valid] for _, track in pairs]).reshape(-1, 36).astype(np.float64)
        if len(offsets) < N_COMPONENTS:
            raise LipsyncError("Coarticulation needs real lips to learn from; none of the given rows is valid.")
        axes = np.linalg.eigh(offsets.T @ offsets)[1][:, ::-1][:, :N_COMPONENTS].T
        components = np.ascontiguousarray(axes, np.float32).reshape(-1, 18, 2)
        muscles = _fitted(pairs, components, steps, seed, tell)
        model = cls(components, muscles)
        real = np.concatenate([opening(t.points[t.valid]) for _, t in pairs])
        predicted = np.concatenate([opening(model.lips(p, len(t))[t.valid]) for p, t in pairs])
        model.gain = float(np.clip(real.std() / max(predicted.std(), 1e-6), 1.0, MOST_GAIN))
        return model

    def lips(self, phones: Phones, n_rows: int) -> np.ndarray:
        """(n_rows,18,2) float32 offsets from rest, face frame, 100 a second; never open at /p b m/, however short.

        Added to a rest shape, inner edges may cross by a little where lips press; `lipsync.core.lips.uncrossed` mends
        it."""
        offsets = (self.coefficients(phones, n_rows) @ self.components.reshape(-1, 36)).reshape(-1, 18, 2) * np.float32(
            self.gain
        )
        return self._closed(offsets, phones)

    def _closed(self, offsets: np.ndarray, phones: Phones) -> np.ndarray:
        """The offsets without what they open, along the first component, in the middle of bilabials."""
        seconds, shut = np.arange(len(offsets)) / FEATURE_RATE, np.zeros(len(offsets))
        for name, start, end in zip(phones.name, phones.start_s, phones.end_s, strict=True):
            if name in BILABIALS:
                near = slice(max(0, int((start - 0.2) * FEATURE_RATE)), int((end + 0.2) * FEATURE_RATE))
                away = np.abs(seconds[near] - (start + end) / 2) - max((end - start) / 2 - 0.02, 0.01)
                shut[near] = np.maximum(shut[near], soft_step(1 - away / CLOSING_S))
        too_open = np.maximum(opening(offsets), 0) * shut / opening(self.components[0])
        return (offsets - too_open[:, None, None] * self.components[0]).astype(np.float32)

    @torch.no_grad()
    def coefficients(self, phones: Phones, n_rows: int) -> np.ndarray:
        """(n_rows,K) float32."""
        unit, start, end = units_of(phones)
        rows = torch.arange(n_rows, dtype=torch.float32) / FEATURE_RATE
        parts = []
        for first in range(0, n_rows, 500):
            seconds = rows[first : first + 500]
            near = (end > float(seconds[0]) - 2) & (start < float(seconds[-1]) + 2)
            if not near.any():
                near[np.argmin(np.abs(start - float(seconds[0])))] = True
            shift = float(seconds[0])  # small numbers: float32 seconds are coarse after an hour
            batch = [
                torch.from_numpy(unit[near])[None],
                *(torch.from_numpy(edge[near] - shift).float()[None] for edge in (start, end)),
            ]
            parts.append(self.muscles(seconds - shift, *batch)[0])
        return torch.cat(parts).numpy()

    def save(self, path: str | Path, metadata: dict[str, str] | None = None) -> None:
        """A small safetensors file."""
        tensors = {name: value.detach().contiguous() for name, value in self.muscles.named_parameters()}
        tensors |= {"components": torch.from_numpy(self.components), "gain": torch.tensor(self.gain)}
        metadata = {**(metadata or {}), "format": FORMAT, "units": " ".join(u.replace(" ", "_") for u in UNITS)}
        with atomic_write(path) as part:
            save_tensors(part, tensors, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Coarticulation:
        """The model of a file made by `save`. LipsyncError: missing, damaged, or of another version."""
        file = read_weights_file(path, "a coarticulation model", "Fit it again.")
        if file.metadata.get("format") != FORMAT or file.metadata.get("units") != " ".join(
            u.replace(" ", "_") for u in UNITS
        ):
            raise file.refuse(f"is not a coarticulation model of this version ({FORMAT})")
        muscles = _Muscles()
        with file.whole():
            muscles.load_state_dict({name: file.tensors[name] for name, _ in muscles.named_parameters()}, strict=False)
            return cls(file.array("components", None, 18, 2).numpy(), muscles, float(file.tensors["gain"]))


def _fitted(pairs: Sequence[tuple[Phones, LipTrack]], components: np.ndarray, steps: int, seed: int, tell) -> _Muscles:
    """Adam on squared distance of lips, speed of lips, opening, and closure at bilabials; residues are held small."""
    generator = torch.Generator().manual_seed(seed)
    muscles = _Muscles()
    seconds, unit, start, end, wanted, counts, closed = _padded(pairs, components)
    scale = wanted[counts].square().sum(-1).mean()
    gap = torch.from_numpy((components[:, LOWER_INNER, 1] - components[:, UPPER_INNER, 1]).mean(-1))
    slip = nn.Parameter(torch.zeros(unit.shape[0], unit.shape[1] + 1))  # of each boundary, in SLIP_S
    optimiser = torch.optim.Adam([*muscles.parameters(), slip], 0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.03, total_steps=steps, pct_start=0.1)
    size = float(scale.sqrt())
    for step in range(1, steps + 1):
        chosen = torch.randperm(len(unit), generator=generator)[:BATCH]
        moved = SLIP_S * slip[chosen]
        predicted = muscles(seconds, unit[chosen], start[chosen] + moved[:, :-1], end[chosen] + moved[:, 1:]) * size
        real, use = wanted[chosen], counts[chosen].float()
        off = ((predicted - real).square().sum(-1) * use).sum() / use.sum() / scale
        speed = predicted.diff(dim=1) - real.diff(dim=1)
        off_speed = (speed.square().sum(-1) * use[:, 1:] * use[:, :-1]).sum() / use.sum() / scale
        shut = use * closed[chosen]
        too_open = ((predicted - real) @ gap).square() * (1 + 8 * shut)
        loss = off + 4 * off_speed + 4 * (too_open * use).sum() / use.sum() / scale + RESIDUE * _residue(muscles)
        loss = loss + SLIP * slip[chosen].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if tell:
            tell(step, float(loss.detach()))
    with torch.no_grad():
        muscles.shape.mul_(size)
        muscles.shape_own.mul_(size)
    return muscles.eval()


def _residue(muscles: _Muscles) -> torch.Tensor:
    own = muscles.shape_own.square().sum() + 0.5 * muscles.pull_own.square().sum()
    return own + 0.1 * (muscles.pull.square().sum() + muscles.shape.square().sum())


def _padded(pairs: Sequence[tuple[Phones, LipTrack]], components: np.ndarray) -> tuple[torch.Tensor, ...]:
    """Seconds (F,), and (N,Q) units, starts, ends, (N,F,K) coefficients, (N,F) valid, (N,F) bilabial; every second
    row."""
    units = [units_of(phones) for phones, _ in pairs]
    n_units, n_rows = max(len(u) for u, _, _ in units), max(len(track) for _, track in pairs)
    unit, edges = torch.full((len(pairs), n_units), -1), torch.zeros(2, len(pairs), n_units)
    wanted, counts = torch.zeros(len(pairs), n_rows, N_COMPONENTS), torch.zeros(len(pairs), n_rows, dtype=torch.bool)
    closed = torch.zeros(len(pairs), n_rows)
    bilabial = np.array([name in BILABIALS for name in PHONES])
    for k, ((phones, track), (u, a, b)) in enumerate(zip(pairs, units, strict=True)):
        unit[k, : len(u)] = torch.from_numpy(u)
        edges[:, k, : len(u)] = torch.from_numpy(np.stack([a, b])).float()
        wanted[k, : len(track)] = torch.from_numpy(track.points.reshape(-1, 36) @ components.reshape(-1, 36).T)
        counts[k, : len(track)] = torch.from_numpy(track.valid)
        closed[k, : len(track)] = torch.from_numpy(bilabial[phones.at(len(track))]).float()
    seconds = torch.arange(n_rows) / FEATURE_RATE
    return seconds[::2], unit, edges[0], edges[1], wanted[:, ::2], counts[:, ::2], closed[:, ::2]
