"""From speech to lips: the recurrent network of Suwajanakorn et al. 2017, and stronger ones.

"paper": one unidirectional LSTM of 60 units, output 200 ms late.
"causal": one that hears 80 ms ahead, for live use.
"bidirectional": a few that hear the whole speech, averaged.

What they hear is a speech encoder's (lipsync/speech/encoders); each has its own, and any can have any other's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from audio.features import FeatureSpec, pieces
from audio.load import Waveform
from lipsync.core.lips import LipBasis, uncrossed
from lipsync.core.runtime import one_thread
from lipsync.core.types import LipTrack
from lipsync.speech.encoders.base import Rows, SpeechEncoder
from lipsync.speech.encoders.registry import LOGMEL, PAPER, get_encoder
from lipsync.store.cache import save_tensors
from lipsync.store.weights_file import plain_report, read_weights_file

FORMAT = "lipsync-lips-4"
#: What version 0.2 called its files while the networks heard plain acoustic features only.
_ACOUSTIC_ONLY = "lipsync-lips-3"
#: What version 0.1 called its files, and parts of the networks in them.
_FORMAT_0_1, _NAMES_0_1 = "lipsync-lips-2", {".enter.": ".proj_in.", ".leave.": ".head."}
#: Networks that a model may average.
MOST_NETS = 64
#: Rows predicted at once (a minute), and rows of context before and after them.
CHUNK, CONTEXT = 6000, 600


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a network. hidden: units of each of `layers`; stack: rows read per step; delay: rows (10 ms) the output
    comes late."""

    hidden: int
    layers: int
    bidirectional: bool
    stack: int
    delay: int
    dropout: float


SHAPES = {
    "paper": Shape(60, 1, False, 1, 20, 0.0),
    "causal": Shape(128, 2, False, 2, 8, 0.1),
    "bidirectional": Shape(128, 2, True, 2, 0, 0.2),
}


class LipNet(nn.Module):
    """Standardised features (B,L,D) to standardised coefficients (B,L/stack,K); output row i belongs to input row
    i*stack - delay. columns: from and to which of the features it reads, None = all."""

    def __init__(self, n_in: int, n_out: int, shape: Shape, columns: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.columns = columns or (0, n_in)
        n_in = self.columns[1] - self.columns[0]
        self.stack, self.delay = shape.stack, shape.delay
        reads_pairs = shape.stack > 1
        self.proj_in = (
            nn.Sequential(nn.Linear(n_in * shape.stack, shape.hidden), nn.ReLU()) if reads_pairs else nn.Identity()
        )
        self.lstm = nn.LSTM(
            shape.hidden if reads_pairs else n_in,
            shape.hidden,
            shape.layers,
            batch_first=True,
            bidirectional=shape.bidirectional,
            dropout=shape.dropout if shape.layers > 1 else 0.0,
        )
        self.drop = nn.Dropout(shape.dropout)
        self.head = nn.Linear(shape.hidden * (2 if shape.bidirectional else 1), n_out)

    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        """(B,L/stack,H) what the LSTM makes of the sound, before it is turned into lips."""
        rows = rows[..., slice(*self.columns)]
        n, length, size = rows.shape
        steps = rows.reshape(n, length // self.stack, size * self.stack)
        return self.lstm(self.drop(self.proj_in(steps)))[0]

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.encode(rows)))


class LipModel:
    """One person's lips for any speech.

    nets: the averaged networks; feature_mean, feature_scale: (D,) float32 torch; rest: (18,2) closed resting lips;
    gain: (18,2) how far each coordinate moves from rest, relative to the networks' answer; report: what was measured in
    training; encoder: what they hear, None = the network's own."""

    def __init__(
        self,
        network: str,
        nets: Sequence[LipNet],
        feature_mean: torch.Tensor,
        feature_scale: torch.Tensor,
        basis: LipBasis,
        rest: np.ndarray,
        gain: np.ndarray | float = 1.0,
        report: Mapping | None = None,
        encoder: SpeechEncoder | None = None,
    ) -> None:
        self.network, self.nets, self.basis, self.rest = network, list(nets), basis, rest
        self.gain = np.broadcast_to(np.asarray(gain, np.float32), rest.shape)
        self.feature_mean, self.feature_scale = feature_mean, feature_scale
        self.encoder = encoder or get_encoder("auto", network)
        self.report = dict(report or {})

    def predict(self, speech: Waveform) -> LipTrack:
        """(F,18,2) lips for the whole of the speech, 100 per second, face frame; as many as it has features."""
        points = self.predict_rows(self.encoder.rows(speech))
        return LipTrack(points, np.ones(len(points), bool))

    def predict_rows(self, features: torch.Tensor | Rows) -> np.ndarray:
        """(F,18,2) lips for (F,D) features."""
        points = np.empty((len(features), 18, 2), np.float32)
        with ThreadPoolExecutor(os.cpu_count()) as pool, one_thread():
            for part in pieces(len(features), CHUNK):
                excerpt, first = self._standardised_rows(features, part)
                each = list(pool.map(partial(predict_part, excerpt=excerpt, first=first, part=part), self.nets))
                coefficients = np.mean(each, axis=0) * scale_of(self.basis)
                points[part] = uncrossed(self.exaggerated(self.basis.decode(coefficients.astype(np.float32))))
        return points

    def embed(self, wave: Waveform) -> Iterator[np.ndarray]:
        """(F,H) float64 the first network's LSTM features of `wave`, 100 per second, minute by minute: an hour's would
        be 740 MB."""
        net, features = self.nets[0], self.encoder.rows(wave)
        for part in pieces(len(features), CHUNK):
            with one_thread():
                embedding = predict_part(net, *self._standardised_rows(features, part), part, net.encode)
            yield embedding

    def _standardised_rows(self, features: torch.Tensor | Rows, part: slice) -> tuple[torch.Tensor, int]:
        """What each of the networks, which are alike, reads to answer for `part`; standardised."""
        excerpt, first = context_rows(self.nets[0], features, part)
        return self.standardised(excerpt.to(self.feature_mean.device)), first

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.feature_mean) / self.feature_scale

    def exaggerated(self, points: np.ndarray) -> np.ndarray:
        """Lips `gain` times as far from rest: networks trained on squared error move too little, and people differ."""
        return self.rest + self.gain * (points - self.rest)

    def retarget(self, rest: np.ndarray, style: np.ndarray | float = 1.0) -> LipModel:
        """The same speech on another person: their (18,2) resting lips, and how far theirs move relative to these
        ((18,2) or a number)."""
        basis = LipBasis(self.basis.mean + rest - self.rest, self.basis.components, self.basis.spread)
        return self._with(basis=basis, rest=rest, gain=self.gain * style)

    def with_mean_moved(self, by: np.ndarray) -> LipModel:
        """The same with all lips (18,2) further on."""
        basis = LipBasis(self.basis.mean + by / self.gain, self.basis.components, self.basis.spread)
        return self._with(basis=basis)

    def to(self, device: torch.device | str) -> LipModel:
        nets = [net.to(device) for net in self.nets]
        mean, scale = self.feature_mean.to(device), self.feature_scale.to(device)
        return self._with(nets=nets, feature_mean=mean, feature_scale=scale)

    def with_nets(self, nets: Sequence[LipNet]) -> LipModel:
        """The same with these networks, averaged."""
        return self._with(nets=nets)

    def with_gain(self, gain: np.ndarray | float) -> LipModel:
        """The same with lips that move so far."""
        return self._with(gain=gain)

    def _with(self, **changed) -> LipModel:
        names = ("network", "nets", "feature_mean", "feature_scale", "basis", "rest", "gain", "report", "encoder")
        return LipModel(**({name: getattr(self, name) for name in names} | changed))

    def save(
        self, path: str | Path, metadata: Mapping[str, str] | None = None, weights: torch.dtype = torch.float32
    ) -> None:
        """One safetensors file that says all it needs: weights (of this kind), normalisation, which encoder, basis,
        report."""
        named = (
            (f"net{i}.{name}", value) for i, net in enumerate(self.nets) for name, value in net.state_dict().items()
        )
        tensors = {name: value.to("cpu", weights).contiguous() for name, value in named}
        tensors |= {
            "feature_mean": self.feature_mean.cpu(),
            "feature_scale": self.feature_scale.cpu(),
            "rest": torch.from_numpy(self.rest),
            "gain": torch.from_numpy(self.gain.copy()),
        }
        tensors |= {
            f"basis.{name}": torch.from_numpy(getattr(self.basis, name)) for name in ("mean", "components", "spread")
        }
        encoder = {"name": self.encoder.name, "identity": self.encoder.identity}
        columns = [list(net.columns) for net in self.nets]
        about = {"network": self.network, "nets": len(self.nets), "encoder": encoder, "report": self.report}
        about |= {"columns": columns}
        save_tensors(path, tensors, {**(metadata or {}), "format": FORMAT, "lips": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path, whisper_model: str = "") -> LipModel:
        """The model of a file made by `save`, on the CPU. whisper_model: see `lips.whisper_model`, for one that hears
        by Whisper. LipsyncError: missing, damaged, not a lip model, or its encoder is not here."""
        file = read_weights_file(path, "a lip model")
        if file.metadata.get("format") == _FORMAT_0_1:
            file = file.renamed(_NAMES_0_1)
        elif file.metadata.get("format") not in (FORMAT, _ACOUSTIC_ONLY):
            raise file.refuse(f"is not a lip model of this version ({FORMAT})")
        with file.whole():
            about = file.about("lips")
            shape = SHAPES.get(about["network"])
            encoder = _encoder_of(about, whisper_model)
            if shape is None or encoder is None:
                raise file.refuse("was trained for other features or another network")
            n_in, n_out = encoder.size, len(file.array("basis.spread", None))
            basis = LipBasis(
                *(
                    file.array(f"basis.{name}", *size).numpy()
                    for name, size in (("mean", (18, 2)), ("components", (n_out, 18, 2)), ("spread", (n_out,)))
                )
            )
            mean, scale = file.array("feature_mean", n_in), file.array("feature_scale", n_in)
            rest, gain = file.array("rest", 18, 2).numpy(), file.array("gain", 18, 2).numpy()
            report = plain_report(about["report"])
            if not (1 <= n_out <= 36 and 1 <= about["nets"] <= MOST_NETS and float(scale.min()) >= 1e-6):
                raise ValueError("sizes that no model has")
            if not all(
                isinstance(report.get(name, 0.0), (int, float)) for name in ("lmd", "opening_r", "articulation")
            ):
                raise ValueError("measures that are no numbers")
            columns = [_within(n_in, *pair) for pair in about.get("columns", [(0, n_in)] * about["nets"])]
            nets = [LipNet(n_in, n_out, shape, pair).eval() for pair in columns]
            if len(nets) != about["nets"]:
                raise ValueError("columns of other networks")
            for i, net in enumerate(nets):
                file.fill(net, f"net{i}.")
        return cls(about["network"], nets, mean, scale, basis, rest, gain, report, encoder)


def _within(n_in: int, first: int, after: int) -> tuple[int, int]:
    if not 0 <= first < after <= n_in:
        raise ValueError("columns that no features have")
    return first, after


def _encoder_of(about: Mapping, whisper_model: str) -> SpeechEncoder | None:
    """The encoder that a file's networks were trained for; None: it is not the one of that name here."""
    if "encoder" not in about:
        spec = FeatureSpec.from_dict(about["spec"])
        return next((known for known in (LOGMEL, PAPER) if known.spec == spec), None)
    encoder = get_encoder(str(about["encoder"]["name"]), whisper_model=whisper_model)
    return encoder if encoder.identity == about["encoder"]["identity"] else None


def scale_of(basis: LipBasis) -> np.ndarray:
    """(K,) the basis' spread, kept off zero."""
    return np.maximum(basis.spread, 1e-3 * max(float(basis.spread[0]), 1e-6))


def predict_standardised(
    net: LipNet,
    rows: torch.Tensor,
    chunk: int = CHUNK,
    context: int = CONTEXT,
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> np.ndarray:
    """(F,K) float64 coefficients, standardised, for (F,D) standardised features, chunk by chunk. forward: see
    predict_part."""
    parts = pieces(len(rows), chunk)
    return np.concatenate([predict_part(net, *context_rows(net, rows, part, context), part, forward) for part in parts])


def context_rows(
    net: LipNet, rows: torch.Tensor | Rows, part: slice, context: int = CONTEXT
) -> tuple[torch.Tensor, int]:
    """What `net` must read of the (F,D) rows to answer for `part`: (L,D) rows with context on both sides, and the
    number of the first. At the end the last row is repeated until the delayed answer is out."""
    n = len(rows)
    end = n + net.delay + (-(n + net.delay)) % net.stack
    first, last = max(0, part.start - context), min(end, part.stop + net.delay + context)
    return torch.cat([rows[first:last], rows[-1:].expand(max(0, last - n), -1)]), first


@torch.no_grad()
def predict_part(
    net: LipNet,
    excerpt: torch.Tensor,
    first: int,
    part: slice,
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> np.ndarray:
    """(part,K) float64 coefficients, standardised, for (L,D) standardised rows from `first` on; the delay is made good.

    forward: `net.encode` for the LSTM's own features instead.
    """
    out = (forward or net)(excerpt[None])[0].double().cpu().numpy()
    moments = first + np.arange(len(out)) * net.stack - net.delay
    wanted = np.arange(part.start, part.stop)
    return np.stack([np.interp(wanted, moments, column) for column in out.T], 1)
