"""Words for people: printable, short, rounded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shortened(text: str, width: int) -> str:
    """`text`, cleaned, in at most `width` cells: the middle goes, more of the end stays, where names differ."""
    from rich.cells import cell_len, set_cell_size

    text = printable(text)
    if cell_len(text) <= width:
        return text
    head = (width - 1) // 3
    start = next(i for i in range(len(text) + 1) if cell_len(text[i:]) <= width - 1 - head)
    return set_cell_size(text, head).rstrip() + "…" + text[start:]


def format_duration(seconds: float) -> str:
    """A length of time, two units at most: 0.42 s, 40 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    if seconds < 10:
        return f"{round(max(0.0, seconds), 2):.2g} s"
    for unit, part, name, part_name in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        whole, rest = divmod(round(seconds / part), unit // part)
        if whole:
            return f"{whole} {name} {rest} {part_name}" if rest else f"{whole} {name}"
    return f"{round(seconds)} s"


def nearest(name: str, known: Iterable[str]) -> str:
    """For a message: the known name that was perhaps meant."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if not near:  # a right key in the wrong section
        near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f"Did you mean {near[0]!r}?" if near else "`lipsync config` prints all options."
