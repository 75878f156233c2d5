"""Words for people: printable, short, rounded."""

from __future__ import annotations

import bisect
import codecs
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from lipsync.core.errors import UsageError

#: Marks at the beginning of text files, and what they are written in.
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in readable(text)
    )


def readable(value: Any) -> Any:
    """Plain values, nested ones too, whose text any UTF-8 file can hold: bytes of file names that are not UTF-8 are
    written as \\xfc."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", lambda found: _escape(ord(found[0])), value)
    if isinstance(value, dict):
        return {readable(key): readable(inner) for key, inner in cast(dict[Any, Any], value).items()}
    return [readable(inner) for inner in cast(list[Any], value)] if isinstance(value, (list, tuple)) else value


def _escape(surrogate: int) -> str:
    """Python keeps the byte 0xfc of a name as U+DCFC."""
    return f"\\x{surrogate - 0xDC00:02x}" if 0xDC80 <= surrogate <= 0xDCFF else f"\\u{surrogate:04x}"


def decoded(raw: bytes) -> str:
    """The text of a file: UTF-8, or what its byte order mark says, such as UTF-16 from Windows. UnicodeDecodeError:
    neither."""
    return raw.decode(next((name for mark, name in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8"))


def text_of_file(path: Path, what: str, largest: int) -> str:
    """The text of a user's file, as `decoded`. UsageError, with the line, where it cannot be read, holds more than
    `largest` bytes, or is no text. what: it is to the user, such as "manifest"."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(largest + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"The {what} {path} cannot be read: {why}. Check the name.") from error
    if len(raw) > largest:
        raise UsageError(f"The {what} {path} is larger than {largest >> 20} MiB. Split it.")
    try:
        return decoded(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: this is not UTF-8 text. Save the {what} as UTF-8.") from error


def shortened(text: str, width: int) -> str:
    """`text`, cleaned, in at most `width` cells: the middle goes, more of the end stays, where names differ."""
    from rich.cells import cell_len, set_cell_size

    text = printable(text)
    if cell_len(text) <= width:
        return text
    head = (width - 1) // 3
    start = bisect.bisect_left(range(len(text)), 1 + head - width, key=lambda i: -cell_len(text[i:]))
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


def rough_duration(seconds: float) -> str:
    """An estimated length of time, with no more digits than an estimate has: 8 s, 4 min, 3 h 20 min."""
    step = 1 if seconds < 60 else 60 if seconds < 3600 else 600 if seconds < 86400 else 3600
    return format_duration(max(step, round(seconds / step) * step))


def few_spans(spans: Sequence[Sequence[float]], digits: int = 2, most: int = 4) -> str:
    """[from, to] seconds as "0.00-2.40, 3.10-4.00 s"; of more than `most` the first."""
    shown = ", ".join(f"{a:.{digits}f}-{b:.{digits}f}" for a, b in spans[:most])
    return f"{shown} s" + (f" and {len(spans) - most} more" if len(spans) > most else "")


def counted(n: int, noun: str) -> str:
    """ "1 job", "2 jobs"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def size_text(n_bytes: float) -> str:
    """An amount of data: 812 B, 3.4 kB, 12.0 MB, 1.5 GB."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def percent(share: float) -> str:
    """A share of 1 in whole per cent; "100 %" and "0 %" only where it is just that."""
    return f"{round(100 * share) if share in (0, 1) else min(99, max(1, round(100 * share)))} %"


def nearest(name: str, known: Iterable[str], otherwise: str = "`lipsync config` prints all options.") -> str:
    """For a message: the known name that was perhaps meant."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if not near:  # a right key in the wrong section
        near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f"Did you mean {near[0]!r}?" if near else otherwise


def faces_seen(people: int) -> str:
    """For a message: by which numbers the people of a film go."""
    return "only face 0 is seen" if people == 1 else f"faces 0 to {people - 1} are seen"
