"""Who may import whom (the syntax tree is read, nothing is run), and how little `lipsync --help` needs."""

import ast
import subprocess
import sys
from functools import cache

import pytest

from tests.support import ROOT

OURS = ("audio", "video", "lipsync", "training")
LEAVES = {"types", "timebase", "geometry", "lips", "config", "errors", "hooks", "cache", "weights_file", "threads"}
ENTRY = {
    "dub",
    "batch",
    "cli",
    "__main__",
    "doctor",
    "config_file",
    "paths",
    "look",
    "receipt",
    "lip_model",
    "lips_only",
    "train_lips",
    "texture_model",
    "train_texture",
    "compare",
    "identity",
    "sandbox",
    "__init__",
}
HEAVY = {"torch", "cv2", "mediapipe", "librosa", "numba", "dlib", "scipy", "av", "soundfile", "jax", "matplotlib"}
NEVER_AT_THE_TOP = {"mediapipe", "dlib", "librosa", "numba", "torchaudio"}
FILES = sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path, top_only=False):
    """(line, full name) of each import in a file; `from a import b` counts as a.b where that is a module."""
    for node in tree_of(path).body if top_only else ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            parts = [*above, *(node.module or "").split(".")] if node.module else list(above)
            for alias in node.names:
                base = ROOT.joinpath(*parts, alias.name)
                is_module = base.with_suffix(".py").exists() or (base / "__init__.py").exists()
                yield node.lineno, ".".join([*parts, alias.name] if is_module else parts)


def kind(name):
    """leaf, texture, stage or entry, of a module in lipsync."""
    parts = name.split(".")
    first = parts[1] if len(parts) > 1 else "__init__"
    if first in ENTRY:
        return "entry"
    if first in LEAVES or name == "lipsync.core.canonical":
        return "leaf"
    return "texture" if first == "textures" else "stage"


def complaint(importer, name):
    """Why `importer` may not import `name`; None if it may."""
    who, whom = importer.split(".")[0], name.split(".")[0]
    if whom not in OURS or (who == whom != "lipsync"):
        return None
    if who in ("audio", "video"):
        return "audio and video import nothing of ours but themselves"
    if whom in ("audio", "video"):
        if kind(importer) == "texture":
            return "a texture method imports only leaves, textures and torch"
        return None
    if who == "training":
        return "training never imports the entry points" if kind(name) == "entry" and name != "lipsync" else None
    if kind(importer) == "entry":
        return None
    if whom == "training":
        return "only the entry points import training"
    if kind(name) == "entry":
        return "only the entry points import entry points"
    if kind(importer) == "leaf" and kind(name) != "leaf":
        return "leaves import only leaves"
    if kind(importer) == "texture" and kind(name) == "stage":
        return "a texture method imports only leaves, textures and torch"
    return None


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_import_law(path):
    broken = [
        f"line {line}: {name}: {why}" for line, name in imported(path) if (why := complaint(module_name(path), name))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    names = {name.split(".")[0] for _, name in imported(path, top_only=True)}
    # Compiled kernels need numba's decorator; a texture method's file is itself imported only when it is used.
    assert not names & (NEVER_AT_THE_TOP - {"numba"} if kind(module_name(path)) == "texture" else NEVER_AT_THE_TOP)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_librosa_and_no_pickle(path):
    text = path.read_text(encoding="utf-8")
    names = {name.split(".")[0] for _, name in imported(path)}
    assert (
        not names & {"librosa", "pickle", "joblib", "shelve"}
        and "torch.load(" not in text
        and "allow_pickle=True" not in text
    )


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "cli.py"], ids=module_name)
def test_only_the_command_line_prints(path):
    calls = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    if module_name(path).startswith("training") and '__name__ == "__main__"' in path.read_text(encoding="utf-8"):
        pytest.skip("a script of its own")
    assert not calls, f"print in lines {calls}"


@pytest.mark.parametrize(
    ("importer", "name", "allowed"),
    [
        ("audio.load", "video.read", False),
        ("video.write", "lipsync.core.errors", False),
        ("audio.load", "audio.features", True),
        ("lipsync.core.types", "video.clock", True),
        ("lipsync.core.lips", "lipsync.target.analyse", False),
        ("lipsync.render.retime", "lipsync.core.lips", True),
        ("lipsync.render.retime", "lipsync.pipelines.dub", False),
        ("lipsync.render.composite", "lipsync.learning.loop", False),
        ("lipsync.textures.methods.median", "lipsync.render.composite", False),
        ("lipsync.textures.methods.median", "video.read", False),
        ("lipsync.textures.methods.median", "lipsync.textures.registry", True),
        ("lipsync.learning.loop", "lipsync.cli.app", False),
        ("lipsync.learning.loop", "lipsync.render.composite", True),
        ("lipsync.pipelines.dub", "lipsync.learning.loop", True),
    ],
)
def test_the_law_itself(importer, name, allowed):
    assert (complaint(importer, name) is None) == allowed


def loaded_after(code):
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(out.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", [["dub"], ["lips"], ["train", "lips"]])
def test_help_loads_nothing_heavy(command):
    code = f"import sys\nsys.argv = ['lipsync', *{command}, '--help']\nfrom lipsync.cli.app import main\ntry: main()\nexcept SystemExit: pass"
    assert not loaded_after(code) & (HEAVY | {"numpy"})


def test_import_is_instant():
    assert not loaded_after("import lipsync; lipsync.__version__; dir(lipsync)") & (HEAVY | {"numpy", "typer", "rich"})


def test_a_function_is_not_hidden_by_its_module():
    code = "import types, lipsync\nm = types.ModuleType('lipsync.pipelines.dub'); m.dub = print\nlipsync.dub = m\nassert lipsync.dub is print"
    loaded_after(code)
