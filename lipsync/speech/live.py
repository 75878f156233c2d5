"""Lips of a speech that is still being said: the causal network, a step at a time."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch

from audio.features import FEATURE_RATE, HOP, PIECE, FeatureSpec, log_mel, power_spectrum
from audio.load import RATE
from lipsync.core.errors import UsageError
from lipsync.core.lips import soft_step, uncrossed
from lipsync.speech.encoders.base import Acoustic
from lipsync.speech.lip_model import LipModel, scale_of
from lipsync.speech.voice import REACH, SPEC, START, STAY, voice_net

#: Speech that nothing was heard of yet is taken to be so loud (dB), and that counts as so many blocks of 0.1 s.
_USUAL_DB, _USUAL_BLOCKS = -26.0, 5
_BLOCK = 4  # tenths of a second over which loudness is measured, as audio/features.py does
_MEMORY = 600  # blocks that loudness is the mean of: a minute
#: The mouth closes in so many rows when speech ends, and opens in so many when it begins: the network knows that early.
CLOSE, OPEN = 14, 8
#: Rows that are kept: the voice network looks back so far, and a little more is asked for.
_KEPT = REACH + 32


class LiveLips:
    """What `lips_for` makes of a whole speech, made of a speech so far.

    Against that, only what is known in time is used: loudness is that of the speech so far, the voice network hears no
    further ahead than the lip network, and pauses need no least length. One speaker, one stream; not for two threads.
    Cheapest with torch on one thread (`one_thread`)."""

    def __init__(self, model: LipModel) -> None:
        """model: of the network "causal". UsageError: of another one."""
        if model.network != "causal" or not isinstance(model.encoder, Acoustic) or model.encoder.spec.differences:
            raise UsageError(f'Live lips need a model of the network "causal", not "{model.network}" (lips.network).')
        self.model, self.spec = model, model.encoder.spec
        self.net, self.rest = model.nets[0], model.rest
        self._samples = torch.zeros(0)  # from row self._row - 2 on, where there is such a row
        self._row, self._step = 0, 0  # rows heard, steps of the network made
        self._loudness = _Loudness(self.spec)
        self._pending, self._state = torch.zeros(0, self.spec.size), [None] * len(model.nets)
        self._mel = torch.zeros(0, SPEC.n_mels)  # the last rows, for the voice network
        self._shapes: deque[np.ndarray] = deque(maxlen=_KEPT)  # (18,2) of the network's last steps
        self._closed, self._closed_row = 1.0, 0

    @property
    def ahead_s(self) -> float:
        """How much of the sound after a moment must be heard before its lips are known, at most."""
        return (self.net.delay + self.net.stack) / FEATURE_RATE + self.spec.n_fft / 2 / RATE

    def hear(self, samples: np.ndarray) -> None:
        """The next (n,) samples, 16,000 a second."""
        sound = torch.from_numpy(np.asarray(samples, np.float32))
        while len(sound):  # up to where loudness is measured anew: the same in any pieces
            n = self._loudness.missing
            self._listen(sound[:n])
            self._loudness.hear(sound[:n])
            sound = sound[n:]

    def _listen(self, sound: torch.Tensor) -> None:
        self._samples = torch.cat([self._samples, sound])
        begin = max(0, self._row - 2)
        known = (len(self._samples) - self.spec.n_fft // 2) // HOP + 1 + begin
        with torch.inference_mode():
            while self._row < known:
                rows = slice(self._row - begin, min(known, self._row + PIECE) - begin)
                self._heard(rows)
                self._row = rows.stop + begin
        drop = max(0, self._row - 2) - begin
        self._samples = self._samples[drop * HOP :]

    def _heard(self, rows: slice) -> None:
        """rows: of the kept samples."""
        size = self.spec.n_fft, round(self.spec.window_s * RATE)
        rows_mel = log_mel(power_spectrum(self._samples, *size, rows, self._loudness.gain), self.spec)
        self._mel = torch.cat([self._mel, rows_mel])[-_KEPT:]
        waiting = torch.cat([self._pending, rows_mel])
        whole = len(waiting) // self.net.stack * self.net.stack
        self._pending = waiting[whole:]
        if whole:
            self._predict(self.model.standardised(waiting[:whole]))

    def _predict(self, rows: torch.Tensor) -> None:
        answers = []
        for k, net in enumerate(self.model.nets):
            steps = rows[:, slice(*net.columns)].reshape(1, len(rows) // net.stack, -1)
            out, self._state[k] = net.lstm(net.proj_in(steps), self._state[k])
            answers.append(net.head(out)[0].double().numpy())
        coefficients = np.mean(answers, axis=0) * scale_of(self.model.basis)
        shapes = self.model.exaggerated(self.model.basis.decode(coefficients.astype(np.float32)))
        self._shapes.extend(uncrossed(shapes))
        self._step += len(shapes)

    def at(self, second: float) -> np.ndarray:
        """(18,2) float32 the lips at a moment whose sound, and `ahead_s` more, was heard; moments must rise."""
        if not self._shapes:
            return self.rest
        first = self._step - len(self._shapes)
        place = np.clip((second * FEATURE_RATE + self.net.delay) / self.net.stack - first, 0, len(self._shapes) - 1)
        low = int(place)
        high = min(low + 1, len(self._shapes) - 1)
        shape = self._shapes[low] * (1 - (place - low)) + self._shapes[high] * (place - low)
        closed = float(soft_step(np.array(self._closed_at(second))))
        return (shape * (1 - closed) + self.rest * closed).astype(np.float32)

    def _closed_at(self, second: float) -> float:
        """In [0,1]: how far the mouth has gone to rest."""
        row = int(second * FEATURE_RATE)
        passed, self._closed_row = max(0, row - self._closed_row), max(row, self._closed_row)
        speaks = self._speaks_from(row)
        self._closed = float(np.clip(self._closed + (-passed / OPEN if speaks else passed / CLOSE), 0, 1))
        return self._closed

    def _speaks_from(self, row: int) -> bool:
        """Whether somebody speaks at a row or, as far as was heard, after it."""
        with torch.inference_mode():
            like = torch.sigmoid(voice_net()(self._mel.T[None])[0]).numpy()
        at = row - (self._row - len(self._mel))
        heard = like[max(0, at) :]
        # speech goes on while it may be speech, and begins where it surely is
        return bool((heard > (START if self._closed == 1 else STAY)).any())


class _Loudness:
    """The gain that brings speech to the level features are made at, of the speech so far (`loudness_normalised`)."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._wanted = 10 ** (spec.loudness_db / 20)
        self._left, self._parts = torch.zeros(0), deque[float](maxlen=_BLOCK)
        self._energy: deque[float] = deque(maxlen=_MEMORY)
        self.gain = self._wanted / 10 ** (_USUAL_DB / 20)

    @property
    def missing(self) -> int:
        """Samples up to the next measurement."""
        return RATE // 10 - len(self._left)

    def hear(self, samples: torch.Tensor) -> None:
        """At most `missing` ones."""
        self._left = torch.cat([self._left, samples])
        if self.missing:
            return
        self._parts.append(float(self._left.square().mean()))
        self._left = self._left[:0]
        if len(self._parts) == _BLOCK:
            self._energy.append(sum(self._parts) / _BLOCK)
        heard = np.array([energy for energy in self._energy if energy > 1e-7])
        if len(heard):
            heard = heard[heard >= 0.1 * heard.mean()]
            usual = _USUAL_BLOCKS * 10 ** (_USUAL_DB / 10)
            self.gain = self._wanted / ((heard.sum() + usual) / (len(heard) + _USUAL_BLOCKS)) ** 0.5
