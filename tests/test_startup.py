"""How little is loaded before it is needed. Who may import whom is import-linter's (`make lint`)."""

import subprocess
import sys

import pytest

from tests.support import ROOT

HEAVY = {
    "torch",
    "cv2",
    "mediapipe",
    "librosa",
    "numba",
    "dlib",
    "scipy",
    "av",
    "soundfile",
    "matplotlib",
    "jinja2",
    "numpy",
}


def loaded_after(code):
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(out.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", [["dub"], ["lips"], ["train", "lips"], ["batch"]])
def test_help_loads_nothing_heavy(command):
    code = (
        f"import sys\nsys.argv = ['lipsync', *{command}, '--help']\n"
        "from lipsync.cli.app import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert not loaded_after(code) & HEAVY


def test_import_is_instant():
    assert not loaded_after("import lipsync; lipsync.__version__; dir(lipsync)") & (
        HEAVY | {"typer", "rich", "pydantic"}
    )


def test_public_names_are_functions_not_modules():
    code = (
        "import lipsync.pipelines.dub, lipsync.target.analyse\n"
        "assert callable(lipsync.dub) and callable(lipsync.analyse)"
    )
    loaded_after(code)


def test_a_dub_never_needs_librosa():
    code = (
        "import lipsync.pipelines.dub, lipsync.pipelines.lips, "
        "lipsync.pipelines.compare, lipsync.pipelines.train_texture"
    )
    assert "librosa" not in loaded_after(code)


def test_a_dub_of_a_known_target_filters_without_scipy():
    loaded_after(
        "import lipsync.pipelines.dub, lipsync.textures.methods.median, lipsync.render.cpu.row, sys\n"
        "assert not [name for name in sys.modules if name.startswith('scipy.')  # numba asks for its version\n"
        "            and name.split('.')[1] in ('ndimage', 'signal', 'spatial', 'interpolate', 'optimize')]"
    )
