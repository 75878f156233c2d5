"""A sampling profiler of all Python threads, and its flame graph as one SVG file that any browser shows."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from html import escape
from pathlib import Path
from types import FrameType

#: Functions in which a thread does nothing but wait.
_WAITS = {("threading.py", "wait"), ("threading.py", "_wait_for_tstate_lock"), ("queue.py", "get"), ("queue.py", "put")}
_WIDTH, _LINE = 1600, 17


class Sampler:
    """Counts, `rate` times a second, which functions every thread stands in; where it waits for others, the main thread
    counts as "waiting" and the rest do not count. What a library does in C is its caller's; a library's own threads are
    not seen."""

    def __init__(self, rate: float = 200.0) -> None:
        self._pause_s = 1 / rate
        self._stacks: Counter[tuple[str, ...]] = Counter()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        own = threading.get_ident()
        while not self._stopped.is_set():
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                name, stack = names.get(ident, "thread"), stack_of(frame)
                if ident != own and (name == "MainThread" or stack != ["waiting"]):
                    self._stacks[(name, *stack)] += 1
            time.sleep(self._pause_s)

    def collapsed(self) -> str:
        """One line a stack: its functions from the outermost, joined by ";", and its samples (Brendan Gregg's form)."""
        return "".join(f"{';'.join(stack)} {n}\n" for stack, n in sorted(self._stacks.items()))

    def save(self, path: Path, title: str) -> None:
        """Writes the flame graph, and beside it, as .txt, the collapsed stacks."""
        path.write_text(flame_graph(self._stacks, title), encoding="utf-8")
        path.with_suffix(".txt").write_text(self.collapsed(), encoding="utf-8")


def stack_of(frame: FrameType | None) -> list[str]:
    """Names of the functions from the outermost in; ("waiting",) where the thread waits."""
    names: list[str] = []
    first = frame
    while frame is not None:
        names.append(f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name})")
        frame = frame.f_back
    top = None if first is None else (Path(first.f_code.co_filename).name, first.f_code.co_name)
    return ["waiting"] if top in _WAITS else names[::-1]


def flame_graph(stacks: Counter[tuple[str, ...]], title: str) -> str:
    """SVG: one box for each function under its caller, as wide as its share of the samples; its name and share show
    under the pointer. Boxes narrower than a pixel are left out."""
    total = max(1, sum(stacks.values()))
    boxes: list[tuple[int, float, float, str, int]] = []
    _lay(sorted(stacks.items()), 0, 0.0, total, boxes)
    depth = 1 + max((level for level, *_ in boxes), default=0)
    height = (depth + 2) * _LINE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="4" y="13">{escape(title)}: {total} samples</text>',
    ]
    for level, x, width, name, n in boxes:
        y = (level + 1.5) * _LINE
        hue = 20 + hash_of(name) % 40
        fits = int(width / 6.2)
        shown = name if len(name) <= fits else name[: max(0, fits - 1)] + "…" if fits > 3 else ""
        lines.append(
            f"<g><title>{escape(name)}: {100 * n / total:.1f} % ({n})</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.5, width - 0.5):.1f}" height="{_LINE - 1}" rx="1" '
            f'fill="hsl({hue},85%,68%)"/><text x="{x + 3:.1f}" y="{y + 12:.1f}">{escape(shown)}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def hash_of(name: str) -> int:
    """The same number for a name in every run."""
    return sum((i + 1) * ord(c) for i, c in enumerate(name))


def _lay(
    items: list[tuple[tuple[str, ...], int]],
    level: int,
    at: float,
    total: int,
    boxes: list[tuple[int, float, float, str, int]],
) -> None:
    """Appends (level, x, width, name, samples) of the functions at this depth, and of those inside them."""
    groups: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for stack, n in items:
        if len(stack) > level:
            groups.setdefault(stack[level], []).append((stack, n))
    for name, inside in groups.items():
        n = sum(count for _, count in inside)
        width = n / total * _WIDTH
        if width >= 1:
            boxes.append((level, at, width, name, n))
            _lay(inside, level + 1, at, total, boxes)
        at += width
