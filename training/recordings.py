"""Recordings of Debian packages: any sound that lipsync reads, and telephone prompts without a container."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audio.load import RATE, Waveform, load_speech
from media.container import open_media


def load_recording(path: Path) -> Waveform:
    """The sound of a file; .g722 is bare wide-band telephone sound. MediaError: unreadable."""
    if path.suffix != ".g722":
        return load_speech(path)
    with open_media(path, raw_format="g722") as container:
        blocks = [np.zeros(0), *(frame.to_ndarray()[0] for frame in container.decode(audio=0))]
    return Waveform.of(np.concatenate(blocks) / 32768, RATE, path.name)
