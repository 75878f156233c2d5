"""The command that tells what this machine has for a dub, and what it lacks: every finding with its cure."""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import importlib.util
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from lipsync.cli.common import ConfigFile, Json, Set, Verbose, clear_errors, show
from lipsync.cli.findings import Finding, Report
from lipsync.core.errors import LipsyncError
from lipsync.core.installation import HOME, OURS, cure_for_import, misplaced, overwritten

if TYPE_CHECKING:
    from lipsync.config.schema import Backend, DubConfig, FaceConfig

_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


ForABug = Annotated[
    bool,
    typer.Option("--report", help="A block for a bug report: versions and options, no names of files or people."),
]


Compile = Annotated[
    bool, typer.Option("--compile", help="Only compile the loops of a dub, which the first would else do: 20 s once.")
]


@clear_errors
def doctor(
    for_a_bug: ForABug = False,
    compile_: Compile = False,
    file: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Check this machine: libraries, devices, landmarks, codecs, cache."""
    if compile_:
        from lipsync.pipelines.loops import compile_all

        compile_all()
        return show({"compiled": True}, lambda: ["The loops of a dub are compiled."], as_json)
    from lipsync.config.load import from_plain, overrides

    config = from_plain(overrides(file, set_ or []), str(file or ""))
    report = examine(config)
    if for_a_bug:
        from lipsync.cli import bug_report

        facts = bug_report.block(report, config)
        return show(facts, lambda: bug_report.lines(facts), as_json)
    show(report.to_plain(), report.lines, as_json)
    if not report.well:
        raise typer.Exit(LipsyncError.exit_status)


def examine(config: DubConfig) -> Report:
    """Looks at everything that a dub with these options needs; takes a few seconds, because the landmark backends are
    tried for real."""
    groups = (_packages, _libraries, _devices, _codecs, partial(_backends, config.face), partial(_files, config))
    return Report(tuple(finding for group in groups for finding in group()))


def _packages() -> Iterator[Finding]:
    import lipsync

    yield Finding("lipsync", "lipsync", True, True, f"{lipsync.__version__} in {HOME}")
    intruders = misplaced() + overwritten()
    yield Finding(
        "lipsync", "own packages", not intruders, True, " ".join(intruders) or f"{', '.join(OURS)} are lipsync's own"
    )


def _libraries() -> Iterator[Finding]:
    yield Finding("libraries", "python", True, True, f"{platform.python_version()}, {platform.platform()}")
    for module, needed in (
        ("torch", True),
        ("numpy", True),
        ("scipy", True),
        ("av", True),
        ("soundfile", True),
        ("safetensors", True),
    ):
        yield _try("libraries", module, needed, partial(_version_of, module))
    yield _try("libraries", "cv2", True, _opencv)
    yield _try("libraries", "mediapipe", True, lambda: _version_of("mediapipe"))
    yield _try("libraries", "numba", True, lambda: _version_of("numba"))
    yield _try("libraries", "dlib", False, lambda: _version_of("dlib"))
    yield _try("libraries", "torchaudio", False, lambda: _version_of("torchaudio"))


def _try(group: str, name: str, needed: bool, look: Callable[[], str]) -> Finding:
    # A broken library fails in any way it likes: torchaudio alone raises ImportError, OSError and RuntimeError.
    try:
        return Finding(group, name, True, needed, look())
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Finding(group, name, False, needed, first if needed else f"{first} (optional)")


def _version_of(module: str) -> str:
    found = importlib.import_module(module)
    return str(getattr(found, "__version__", "installed"))


def _opencv() -> str:
    installed = [name for name in _OPENCV if _is_installed(name)]
    try:
        version = _version_of("cv2")
    except ImportError as error:
        raise ImportError(cure_for_import(error) or str(error)) from error
    if len(installed) > 1:
        raise ImportError(
            f"{' and '.join(installed)} are both installed over one folder: uninstall both, install "
            "opencv-contrib-python again"
        )
    return f"{version} ({', '.join(installed) or 'not from pip'})"


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _devices() -> Iterator[Finding]:
    yield _try("devices", "cpu", True, _cpu)
    try:
        import torch

        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except ImportError:
        return
    for i in range(n):
        gpu = torch.cuda.get_device_properties(i)
        yield Finding("devices", f"cuda:{i}", True, False, f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
    if not n:
        yield Finding("devices", "cuda", False, False, "no GPU that torch can use; not needed")


def _cpu() -> str:
    import torch

    from lipsync.core.environment import cores

    return f"{cores()} cores, torch uses {torch.get_num_threads()} threads"


def _codecs() -> Iterator[Finding]:
    for name, needed in (
        ("libx264", True),
        ("aac", True),
        ("libx265", False),
        ("libvpx-vp9", False),
        ("libsvtav1", False),
        ("prores_ks", False),
        ("ffv1", False),
        ("h264_nvenc", False),
    ):
        yield _try("encoders", name, needed, partial(_encoder, name))


def _encoder(name: str) -> str:
    """Opens it, because a build can list an encoder whose hardware the machine lacks."""
    import av
    import av.error

    context: Any = av.CodecContext.create(name, "w")
    context.time_base = Fraction(1, 25)
    if context.type == "audio":
        context.sample_rate = 48000
        context.format, context.layout = context.codec.audio_formats[0].name, "mono"
    else:
        context.width, context.height = 256, 256
        context.pix_fmt = "yuv422p10le" if name.startswith("prores") else "yuv420p"
        context.options = {"x265-params": "log-level=none"} if name == "libx265" else {}
    try:
        context.open()
    except av.error.FFmpegError:
        raise RuntimeError("does not open here") from None
    return "works"


def _backends(face: FaceConfig) -> Iterator[Finding]:
    from lipsync.config.schema import Backend

    for name in get_args(Backend):
        yield _try("faces", name, name == face.backend, partial(_backend, name, face))


def _backend(name: Backend, face: FaceConfig) -> str:
    import numpy as np

    from lipsync.face.registry import get_backend, landmark_models

    backend = get_backend(name, face)
    backend.detect(np.full((240, 320, 3), 128, np.uint8))
    backend.close()
    models = landmark_models(replace(face, backend=name)).partition(" ")[0] if name == "mediapipe" else ""
    with_ = {"solutions": " with the face mesh inside it", "tasks": " with a face_landmarker.task"}.get(models, "")
    return " ".join([f"loads and looks at a picture{with_}.", getattr(backend, "notice", "")]).strip()


def _files(config: DubConfig) -> Iterator[Finding]:
    yield _try("files", "cache", True, partial(_cache, config.cache.folder))
    samples = HOME / "samples"
    if samples.is_dir():
        have = [name for name in ("target.mp4", "speech.wav") if (samples / name).is_file()]
        yield Finding("files", "samples", len(have) == 2, False, f"{', '.join(have) or 'none'} in {samples}")


def _cache(folder: str) -> str:
    from lipsync.store.cache import Cache

    cache = Cache(folder or None)
    cache.check_writable()
    entries = cache.entries()
    return f"{cache.folder} is writable; {len(entries)} results, {sum(e.size_bytes for e in entries) / 1e6:.1f} MB"
