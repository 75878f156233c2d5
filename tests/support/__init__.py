"""Helpers that tests share. Test modules import these, never one another."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
#: Real footage for the tests that want it; they skip where it is missing.
DATA = Path(os.environ.get("LIPSYNC_DATA", ROOT.parent / "shared" / "data"))
