"""The doubt of one dub: foreseen from its lips, found in its pictures, told in its receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from lipsync.config.schema import DoubtConfig, DubConfig
from lipsync.core.lips import opening
from lipsync.core.timebase import nominal_rate
from lipsync.core.types import DubPlan, TargetAnalysis
from lipsync.render.doubt import CAUSES, N_FORESEEN, TRUST, foreseen, known_mouths, scores, worst_spans
from lipsync.render.flaws import FlawFinder, thumbnail
from lipsync.render.jaw import jaw_move
from lipsync.render.plan import PlannedFaces
from lipsync.store.cache import Cache
from lipsync.store.receipt import Doubt, DoubtfulSpan
from lipsync.target.look import look_of


@dataclass(frozen=True)
class DubDoubt:
    """lower_jaw: (N,17,2) the lower of the filmed jaw and of where compositing moves it, face frame; values: (N,10) of
    all rows, by `CAUSES`; what is found in the pictures is filled in as they are drawn. A dub that goes on where it was
    stopped knows of the rows drawn before only what was foreseen."""

    plan: DubPlan
    faces: PlannedFaces
    lower_jaw: np.ndarray
    finder: FlawFinder
    values: np.ndarray
    config: DoubtConfig

    @classmethod
    def of(cls, subject: TargetAnalysis, plan: DubPlan, faces: PlannedFaces, cache: Cache, config: DubConfig) -> Self:
        rate = float(nominal_rate(plan.clock))
        values = np.zeros((len(plan), len(CAUSES)), np.float32)
        values[:, :N_FORESEEN] = TRUST * foreseen(known_mouths(subject.bank, rate), plan.lips.points, faces.pose)
        wider = opening(plan.lips.points) - opening(faces.lips)
        values[:, N_FORESEEN] = faces.chin * np.abs(wider) / config.composite.jaw_limit
        new, old = (torch.from_numpy(lips) for lips in (plan.lips.points, faces.lips))
        lower = faces.jaw + jaw_move(new, old, faces.chin, config.composite).numpy().clip(0, None)
        finder = FlawFinder(look_of(subject, cache), rate)
        return cls(plan, faces, lower, finder, values, config.doubt)

    def watch(self, rows: slice, under: torch.Tensor, drawn: torch.Tensor, faces: PlannedFaces) -> None:
        """Looks at (B,3,H,W) uint8 pictures beneath and finished; see `lipsync.render.loop.Watch`."""
        places = faces.pixels_of(rows)
        for b, row in enumerate(range(rows.start, rows.stop)):
            if faces.strength[row] == 0:
                continue
            above, below = (thumbnail(f[b].permute(1, 2, 0).cpu().numpy(), places[b]) for f in (drawn, under))
            flaws = self.finder(row, above, below, self.plan.lips.points[row], faces.lips[row], self.lower_jaw[row])
            self.values[row, N_FORESEEN + 1 :] = flaws

    def report(self) -> Doubt:
        """What the receipt says."""
        by_cause = scores(self.values) * (self.faces.strength > 0)[:, None]
        curve, limit = by_cause.max(1).round(2), self.config.limit
        ends = np.append(self.plan.clock.seconds, float(self.plan.clock.duration_s))
        spans = []
        for first, after in worst_spans(curve, limit, self.config.spans):
            row, cause = np.unravel_index(by_cause[first:after].argmax(), (after - first, len(CAUSES)))
            spans.append(
                DoubtfulSpan(
                    first,
                    after - 1,
                    round(float(ends[first]), 3),
                    round(float(ends[after]), 3),
                    CAUSES[cause],
                    round(float(by_cause[first + row, cause]), 2),
                )
            )
        return Doubt(limit, round(float((curve > limit).mean()), 3), spans, [float(f"{v:.2f}") for v in curve])
