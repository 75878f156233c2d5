"""Training of texture methods: rows of the mouth bank as questions with known answers, one loop for every method, early
stop, exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from audio.load import load_track
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import opening
from lipsync.core.objective import Objective, Terms
from lipsync.core.progress import Hook, note, silent
from lipsync.core.runtime import channels_last
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthBank, TargetAnalysis
from lipsync.learning import loop
from lipsync.learning.distributed import Ranks
from lipsync.learning.losses import Losses
from lipsync.speech.predict import speech_embedding
from lipsync.textures.candidates import following
from lipsync.textures.nets import lower_face, net_size, resized
from lipsync.textures.trainable import TextureBatch, TrainableTexture, numbers_of
from media import MediaError

#: Fewer mouths than this teach nothing.
FEWEST = 50
#: A mouth less sharp than this share of the usual among mouths opened alike is left out.
BLURRED = 0.4
#: Held out for the early stop: one run of so many neighbours out of ten, and at most so many rows judged.
_HELD_RUN, _HELD_ROWS, _HELD_WIDTH = 25, 16, 128
_EVALUATIONS, _PATIENCE = 12, 5
#: Another mouth for the crop: four times so many are drawn at random, and one of the nearest in head pose is taken.
_DRAWN, _APART = 12, 8

Samples = Callable[[np.ndarray], None]


class Examples:
    """Rows of a mouth bank as training batches. speech: (K,256) the speech embedding at each row, or None; domain: (K,)
    0 or 1, where batches are half of either, or None."""

    def __init__(
        self,
        bank: MouthBank,
        speech: np.ndarray | None,
        device: torch.device,
        generator: torch.Generator,
        domain: np.ndarray | None = None,
    ) -> None:
        self.bank, self.device, self.generator, self.speech, self.domain = bank, device, generator, speech, domain
        good = bank.sharpness >= BLURRED * usual_sharpness(bank)
        self.n_blurred = int((~good).sum())
        blocks = np.arange(len(bank)) // _HELD_RUN
        held = blocks % 10 == min(9, max(blocks, default=0))
        self.learned, self.held = np.flatnonzero(good & ~held), np.flatnonzero(good & held)
        if len(self.learned) < FEWEST:
            raise LipsyncError(
                f"Only {len(self.learned)} sharp mouths to learn a texture from; {FEWEST} are needed at least. "
                "Give more footage with --footage."
            )
        self.region = lower_face(bank.space)
        after = following(bank)
        follows = (after != np.arange(len(bank))) & good[after] & ~held[after]
        self.followed = self.learned[follows[self.learned]]

    def draw(self, n: int, run: int = 1) -> TextureBatch:
        """n random rows, in runs of `run` (1 or 2) neighbours in time; where there are two domains, first those of 0,
        then those of 1."""
        run = run if len(self.followed) else 1
        starts = self.learned if run == 1 else self.followed
        parts = [starts] if self.domain is None else [starts[self.domain[starts] == d] for d in (0, 1)]
        parts = [part for part in parts if len(part)]
        first = np.concatenate([part[self._random(len(part), max(1, n // run // len(parts)))] for part in parts])
        return self.batch((first[:, None] + np.arange(run)).ravel(), run)

    def held_out(self) -> TextureBatch:
        """Some held-out rows, the same each time."""
        rows = self.held if len(self.held) else self.learned
        if self.domain is not None:
            own = (some[self.domain[some] == 0] for some in (rows, self.learned))
            rows = next((some for some in own if len(some)), rows)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, _HELD_ROWS).astype(int))]
        return self.batch(rows, 1, np.random.default_rng(0))

    def batch(self, rows: np.ndarray, run: int, rng: np.random.Generator | None = None) -> TextureBatch:
        """The bank's rows as question and answer. The crop's mouth is another row's, so that the answer is not in the
        question."""
        truth = torch.from_numpy(self.bank.take(rows)).float() / 255
        other = torch.from_numpy(self.bank.take(self._others(rows, rng))).float() / 255
        crop = truth + self.region * (other - truth)
        query = TextureQuery(
            lips=numbers_of(self.bank.lips[rows], self.device),
            crop=crop.to(self.device),
            pose=numbers_of(self.bank.pose[rows], self.device),
            speech=None if self.speech is None else numbers_of(self.speech[rows], self.device),
        )
        return TextureBatch(query, truth.to(self.device), torch.from_numpy(rows).to(self.device), run)

    def _others(self, rows: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """For each row another one that shows a head turned alike, of the same shot where it has some."""
        bank, pool = self.bank, self.learned
        random = self._random if rng is None else lambda high, n: rng.integers(0, high, n)
        some = pool[random(len(pool), len(rows) * 4 * _DRAWN).reshape(len(rows), -1)]
        unlike = (bank.shot[some] != bank.shot[rows, None]) * 100.0 + (np.abs(some - rows[:, None]) < _APART) * 1000.0
        turned = np.abs(bank.pose[some] - bank.pose[rows, None]).sum(-1)
        nearest = np.argsort(turned + unlike, axis=1)[:, :4]
        one = random(4, len(rows))
        return some[np.arange(len(rows)), nearest[np.arange(len(rows)), one]]

    def _random(self, high: int, n: int) -> np.ndarray:
        return torch.randint(0, high, (n,), generator=self.generator).numpy()


def usual_sharpness(bank: MouthBank, alike: int = 31) -> np.ndarray:
    """(K,) the middle sharpness of the `alike` mouths opened most alike: teeth are sharp, closed lips are not."""
    order = np.argsort(opening(bank.lips), kind="stable")
    around = np.arange(len(order))[:, None] + np.arange(alike) - alike // 2
    usual = np.empty(len(order))
    usual[order] = np.median(bank.sharpness[order][np.clip(around, 0, len(order) - 1)], axis=1)
    return usual


def train_texture(
    method: TrainableTexture,
    subject: TargetAnalysis,
    hook: Hook = silent,
    device: torch.device | str = "cpu",
    *,
    speech: np.ndarray | None = None,
    keep: Path | None = None,
    samples: Samples | None = None,
    seed: int = 0,
    ranks: Ranks | None = None,
) -> dict:
    """Trains `method` on the subject's mouths; it is ready to draw afterwards. Returns the report (plain values), also
    kept as `method.report`.

    speech: (K,256) `speech_at_mouths` for methods that need it; keep: file of an interrupted training, continued
    exactly; samples: receives a picture (H,W,3) uint8 at every evaluation: truth above, drawn below; ranks: this
    process is one of several that train together, each on rows of its own. LipsyncError: too few mouths."""
    start, device, seed = time.monotonic(), torch.device(device), seed + (ranks.rank if ranks else 0)
    generator = torch.Generator().manual_seed(seed)
    speech = speech if "speech" in method.needs else None
    examples = Examples(subject.bank, speech, device, generator, method.domains(subject))
    torch.manual_seed(seed)
    losses = Losses(device)
    _ = losses.perceptual_name  # loaded now: making a network draws numbers, which a resumed run must not draw again
    method.begin(subject, device)
    batches = _Batches(method, examples, precision_of(device))
    objectives = [batches.objective(objective) for objective in method.objectives(losses)]
    steps, every = method.config.steps, max(1, method.config.steps // _EVALUATIONS)
    evaluate = partial(_error, method, examples.held_out(), losses, samples)

    def report(step: int) -> None:
        note(hook, ", ".join(f"{name} {value:.3g}" for name, value in batches.last.items()))
        hook(f"texture {method.name}", step, steps)

    due = lambda step: step % every == 0  # noqa: E731  the loop's argument, short
    result = loop.train(
        objectives, steps, generator, evaluate, due, report, keep, patience=_PATIENCE, ranks=ranks,
        smaller=batches.halve,
    )  # fmt: skip
    method.nets.eval()
    method.report = _report(method, result, batches, losses, ranks) | {"seconds": round(time.monotonic() - start, 1)}
    return method.report


@torch.no_grad()
def _error(method: TrainableTexture, held: TextureBatch, losses: Losses, samples: Samples | None) -> float:
    """The error of held-out mouths, by which training ends early."""
    drawn = method.answer(held)
    if samples is not None:
        samples(_sheet(held.truth, drawn))
    own = method.error(drawn, held.truth)
    if own is not None:
        return float(own)
    a, b = (resized(pictures, net_size(method.space, _HELD_WIDTH)) for pictures in (drawn, held.truth))
    return float(losses.l1(a, b) + 0.1 * losses.perceptual(a, b))


def _report(
    method: TrainableTexture, result: loop.TrainingResult, batches: _Batches, losses: Losses, ranks: Ranks | None
) -> dict:
    """What became of a training, plain values."""
    examples = batches.examples
    return {
        "steps": result.curve[-1][0],
        "of_steps": method.config.steps,
        "best_step": result.best_step,
        "error": result.best,
        "curve": [list(row) for row in result.curve],
        "mouths": len(examples.learned),
        "held_out": len(examples.held),
        "left_out_as_blurred": examples.n_blurred,
        "parameters": method.n_parameters,
        "batch": batches.size,
        "precision": str(batches.precision).removeprefix("torch."),
        "perceptual": losses.perceptual_name,
        "device": examples.device.type,
        "heard_speech": examples.speech is not None,
        "devices": 1 if ranks is None else ranks.n,
        **method.remarks,
    }


def precision_of(device: torch.device) -> torch.dtype:
    """The number kind of mixed-precision training: bfloat16 on GPUs and on CPUs that multiply it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


class _Batches:
    """The batch that all objectives see at one step, and their last losses by name."""

    def __init__(self, method: TrainableTexture, examples: Examples, precision: torch.dtype) -> None:
        self.method, self.examples, self.precision = method, examples, precision
        self.step, self.batch, self.size = 0, None, method.config.batch
        self.last: dict[str, float] = {}

    def objective(self, objective: Objective[TextureBatch]) -> Objective[int]:
        """The same on the device, its loss called with the step."""
        net = channels_last(objective.net.to(self.examples.device))
        loss = partial(self._loss, objective)
        return Objective(objective.name, net, loss, objective.rate, objective.betas, objective.clip)

    def halve(self) -> bool:
        """Smaller batches from now on; False where they cannot be."""
        run = self.method.config.run
        if self.size < 2 * run:
            return False
        self.batch, self.size = None, self.size // (2 * run) * run
        return True

    def _loss(self, objective: Objective[TextureBatch], step: int) -> Terms:
        if self.batch is None or step != self.step:
            self.step, self.batch = step, self.examples.draw(self.size, self.method.config.run)
        with torch.autocast(self.examples.device.type, self.precision, enabled=self.precision != torch.float32):
            terms = objective.loss(self.batch)
        self.last |= {name: float(value.detach()) for name, value in terms.items()}
        return terms


def _sheet(truth: torch.Tensor, drawn: torch.Tensor, columns: int = 8) -> np.ndarray:
    """(H,W,3) uint8: a few of the truths above what was drawn for them."""
    some = np.unique(np.linspace(0, len(truth) - 1, columns).astype(int))
    both = torch.cat([torch.cat(list(rows[some].cpu()), 2) for rows in (truth, drawn)], 1)
    return (both.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def speech_at_mouths(subject: TargetAnalysis) -> np.ndarray | None:
    """(K,256) float32 `speech_embedding` at each mouth of the bank, 0 where its film has no sound; None where none
    has."""
    bank, first, found, out = subject.bank, 0, False, np.zeros((len(subject.bank), 256), np.float32)
    for film in subject.films:
        after = first + int(film.track.shot.max()) + 1  # shots are numbered film after film
        rows = np.flatnonzero((bank.shot >= first) & (bank.shot < after))
        first = after
        try:
            out[rows] = speech_embedding(load_track(film.video.path, film.stream.limits), film.video.clock)[
                bank.source[rows]
            ]
            found = True
        except MediaError:
            continue
    return out if found else None
