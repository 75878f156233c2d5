"""Damaged copies of files: bytes flipped, cut, spliced, repeated, zeroed; sizes and fields of containers; keys and
values of texts.

Everything is drawn from the dice handed in: the same dice, the same copies.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence

WORDS = (
    0,
    1,
    2,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    -(2**63),
    10**30,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "0",
    "none",
    "\x00",
    "\x1b[31m\n",
    "é日本",
    "../../up",
    "/",
    "a" * 5000,
    "\ud800",
    [],
    {},
    [[]],
    [1],
    [1, 2, 3],
    [[0, 4]],
    {"x": 1},
    [None] * 50,
)
LINES = (
    "x = 1",
    "[x]",
    "[[x]]",
    "x.y.z = []",
    "= 3",
    "[",
    "batch = 0",
    "batch = true",
    "batch = 99999999999999999999",
    "batch = nan",
    "batch = 1e400",
    "texture = 3",
    'texture = "\\u0000"',
    'device = "cuda:999999999999"',
    "face = 3",
    "[face]",
    "at = [1]",
    "at = [nan, inf]",
    "at = [1, 2, 3]",
    "write = []",
    "[write.crf]",
    "crf = -1",
    "crf = 1.5",
    'crf = "12"',
    "x = 1979-05-27T07:32:00Z",
    "a = {b = {c = {}}}",
    "a = '''",
    'a = "\\q"',
    "\ufeff",
    "\x00",
    "a = 0x",
    "[[face]]",
    'texture_weights = "/"',
    '[lips]\nmodel = "\\u0000"',
    "[a." + "b." * 900 + "c]",
    "a = " + "[" * 900 + "]" * 900,
)


def damaged(whole: bytes, form: str, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A copy of `whole` with one to a few damages. form: "bytes", "mp4", "riff", "safetensors", "json", "lines", "csv"
    or "npy", whose own damages are drawn as often as the plain ones; others: files to splice with."""
    own = FORMS[form]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 12))):
        kind = rng.choice(own if own and rng.random() < 0.65 else PLAIN)
        whole = kind(whole, rng, others)
    return whole


def _span(n: int, rng: random.Random) -> tuple[int, int]:
    """A place and a length within n bytes: near the start, where headers are, as often as anywhere."""
    at = rng.randrange(min(n, 400) if rng.random() < 0.5 else n) if n else 0
    return at, min(n - at, 1 << rng.randrange(12))


def flip(whole, rng, others):
    out = bytearray(whole)
    for _ in range(1 << rng.randrange(6)):
        if out:
            out[_span(len(out), rng)[0]] ^= 1 << rng.randrange(8)
    return bytes(out)


def overwrite(whole, rng, others):
    at, n = _span(len(whole), rng)
    new = rng.choice((bytes(n), b"\xff" * n, rng.randbytes(n)))
    return whole[:at] + new + whole[at + n :]


def cut_off(whole, rng, others):
    return whole[: rng.randrange(len(whole) + 1)]


def leave_out(whole, rng, others):
    at, n = _span(len(whole), rng)
    return whole[:at] + whole[at + n :]


def repeat(whole, rng, others):
    at, n = _span(len(whole), rng)
    return whole[: at + n] + whole[at : at + n] * rng.choice((1, 1, 2, 8, 64)) + whole[at + n :]


def insert(whole, rng, others):
    at, n = _span(len(whole), rng)
    return whole[:at] + rng.randbytes(n) + whole[at:]


def splice(whole, rng, others):
    other = rng.choice(others)
    return whole[: rng.randrange(len(whole) + 1)] + other[rng.randrange(len(other) + 1) :]


def field(whole, rng, others):
    """A whole number of 1, 2, 4 or 8 bytes becomes one that programs trip over."""
    size = rng.choice((1, 2, 4, 4, 8))
    if len(whole) < size:
        return whole
    at = min(_span(len(whole), rng)[0], len(whole) - size)
    return whole[:at] + _number(rng, size) + whole[at + size :]


def _number(rng: random.Random, size: int) -> bytes:
    value = rng.choice(WORDS) + rng.choice((0, 0, 1, -1))
    return (value % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))


_PARENTS = (
    b"moov",
    b"trak",
    b"mdia",
    b"minf",
    b"stbl",
    b"edts",
    b"udta",
    b"meta",
    b"stsd",
    b"dinf",
    b"dref",
    b"mvex",
    b"moof",
    b"traf",
)


def _boxes(whole: bytes, begin: int, end: int, found: list, depth: int = 0) -> list[tuple[int, int]]:
    """(start, size) of MP4 atoms, those inside others too."""
    while begin + 8 <= end and len(found) < 500:
        size, name = struct.unpack(">I4s", whole[begin : begin + 8])
        if size < 8 or begin + size > end:
            break
        found.append((begin, size))
        inside = {b"meta": 12, b"stsd": 16, b"dref": 16}.get(name, 8)
        if depth < 8 and name in _PARENTS:
            _boxes(whole, begin + inside, begin + size, found, depth + 1)
        begin += size
    return found


def _chunks(whole: bytes, begin: int, end: int, found: list, depth: int = 0) -> list[tuple[int, int]]:
    """(start, size with head) of RIFF chunks, those inside lists too."""
    while begin + 8 <= end and len(found) < 500:
        name, size = struct.unpack("<4sI", whole[begin : begin + 8])
        size = min(size + 8, end - begin)
        found.append((begin, size))
        if name in (b"RIFF", b"LIST") and depth < 6:
            _chunks(whole, begin + 12, begin + size, found, depth + 1)
        begin += size + size % 2
    return found


def _box_damage(walk: Callable, size_at: int, order: str) -> Callable:
    def damage_box(whole, rng, others):
        found = walk(whole, 0, len(whole), [])
        if not found:
            return flip(whole, rng, others)
        at, size = rng.choice(found)
        what = rng.randrange(7)
        if what == 0:
            new = struct.pack(
                order + "I", rng.choice([*WORDS[:15], size - 1, size + 1, size // 2, size * 2]) & 0xFFFFFFFF
            )
            return whole[: at + size_at] + new + whole[at + size_at + 4 :]
        if what == 1:
            return whole[: at + 4 - size_at] + rng.randbytes(4) + whole[at + 8 - size_at :]
        if what == 2:
            return whole[:at] + whole[at + size :]
        if what == 3:
            return whole[: at + size] + whole[at : at + size] + whole[at + size :]
        inside = (
            at + 8 + 4 * rng.randrange(max(1, min(size - 8, 240) // 4))
        )  # the fields of the atom, words at their own places
        new = rng.choice([*WORDS[:15], rng.randrange(1 << 32)]) & 0xFFFFFFFF
        return whole[:inside] + struct.pack(order + "I", new) + whole[inside + 4 :]

    return damage_box


def _tree_damage(tree, rng: random.Random):
    """A copy of nested lists and dictionaries with one value, key or length changed."""
    places: list = []

    def walk(node):
        if isinstance(node, (dict, list)):
            for key in node if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                walk(node[key])

    walk(tree)
    if not places:
        return rng.choice(VALUES)
    node, key = rng.choice(places)
    what = rng.randrange(6)
    if what == 0:
        del node[key]
    elif what == 1 and isinstance(node, dict):
        node[rng.choice(["", "x", str(key).upper(), str(key) + "x", "\x1b[2J"])] = node.pop(key)
    elif what == 2:
        other, at = rng.choice(places)
        node[key] = json.loads(json.dumps(other[at])) if not isinstance(at, int) or at < len(other) else None
    elif what == 3 and isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
        node[key] = rng.choice(
            [-node[key], node[key] + 1, node[key] * 2, node[key] * 1000003, str(node[key]), [node[key]]]
        )
    else:
        node[key] = rng.choice(VALUES)
    return tree


def _changed_json(text: bytes, rng: random.Random) -> bytes | None:
    try:
        tree = json.loads(text)
        return json.dumps(_tree_damage(tree, rng)).encode()
    except (ValueError, RecursionError, IndexError, KeyError):
        return None


def change_json(whole, rng, others):
    if rng.random() < 0.05:
        return rng.choice((b"[" * 100000, b'{"a":' * 50000, b"null", b"1e999", b"NaN", b'"', b"{}"))
    return _changed_json(whole, rng) or flip(whole, rng, others)


def change_json_line(whole, rng, others):
    lines = whole.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = _changed_json(lines[at], rng) or lines[at][: len(lines[at]) // 2]
    return b"\n".join(lines)


def change_header(whole, rng, others):
    """The JSON head of a safetensors file: a tensor's kind, shape or place, or what the file says about itself; its
    length fits or not."""
    n = int.from_bytes(whole[:8], "little")
    try:
        head = json.loads(whole[8 : 8 + n])
        marks = head.get("__metadata__")
        inner = [name for name in marks if marks[name].startswith("{")] if isinstance(marks, dict) else []
        if inner and rng.random() < 0.4:  # JSON within JSON
            name = rng.choice(inner)
            marks[name] = (_changed_json(marks[name].encode(), rng) or b"{").decode()
        else:
            head = _tree_damage(head, rng)
        text = json.dumps(head).encode()
    except (ValueError, RecursionError, IndexError, KeyError, AttributeError, TypeError):
        return flip(whole, rng, others)
    length = len(text) if rng.random() < 0.9 else rng.choice(WORDS) % (1 << 63)
    return length.to_bytes(8, "little") + text + whole[8 + n :]


def rename_tensor(whole, rng, others):
    """One tensor gone, renamed, or in another's shape, in a file that is otherwise whole."""
    n = int.from_bytes(whole[:8], "little")
    try:
        head = json.loads(whole[8 : 8 + n])
        names = [name for name in head if name != "__metadata__"]
        name = rng.choice(names)
        what = rng.randrange(4)
        if what == 0:
            head[name + "x"] = head.pop(name)
        elif what == 1:
            head[name]["shape"] = [1, *head[name]["shape"]]
        elif what == 2:
            head[name]["shape"] = head[name]["shape"][::-1]
        else:
            head[name]["dtype"] = {"F32": "I32", "F64": "I64", "I64": "F64", "U8": "BOOL", "F16": "BF16"}.get(
                head[name]["dtype"], "F32"
            )
        text = json.dumps(head).encode()
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):
        return flip(whole, rng, others)
    return len(text).to_bytes(8, "little") + text + whole[8 + n :]


def break_numbers(whole, rng, others):
    """Float32 numbers of the payload become NaN, infinite or huge."""
    start = (8 + int.from_bytes(whole[:8], "little")) % (1 << 40)
    if start + 4 > len(whole):
        return flip(whole, rng, others)
    out = bytearray(whole)
    for _ in range(rng.choice((1, 1, 5, 100))):
        at = start + 4 * rng.randrange((len(whole) - start) // 4)
        out[at : at + 4] = struct.pack(
            "<f", rng.choice((float("nan"), float("inf"), -float("inf"), 3e38, -1e30, 0.0, 1e-40))
        )
    return bytes(out)


def change_line(whole, rng, others):
    lines = whole.split(b"\n")
    at, what = rng.randrange(len(lines)), rng.randrange(7)
    key, mark, value = lines[at].partition(b"=")
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(LINES).encode("utf-8", "surrogatepass"))
    elif what == 3 and mark:
        lines[at] = key + b"= " + rng.choice(LINES).partition("=")[2].encode("utf-8", "surrogatepass")
    elif what == 4 and mark:
        lines[at] = key.strip() + rng.choice((b"x", b".x", b" y", b"\xff")) + b" =" + value
    elif what == 5 and mark:
        lines[at] = key + b"=" + rng.choice(lines).partition(b"=")[2]
    else:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    return b"\n".join(lines)


def change_cell(whole, rng, others):
    lines = whole.split(b"\n")
    at = rng.randrange(len(lines))
    cells = lines[at].split(b",")
    cell, what = rng.randrange(len(cells)), rng.randrange(5)
    if what == 0:
        del cells[cell]
    elif what == 1:
        cells.insert(
            cell,
            rng.choice(
                (b"", b'"', b"x", b'"a\nb"', b"\xff\xfe", b"a" * 200000, b"\x00", b"=1+1", b"../../x", b"\x1b[31m")
            ),
        )
    elif what == 2:
        cells[cell] = rng.choice((b"", b'"', b"nan", b"-1", b"true", b'"', b"'", b"[1, 2]", b"1e999", b"\xc3"))
    elif what == 3:
        cells[cell] = rng.choice(rng.choice(lines).split(b","))
    else:
        cells = cells * 3
    lines[at] = b",".join(cells)
    return b"\n".join(lines)


def change_array_head(whole, rng, others):
    """The text head of an npy file: kind, order and shape."""
    n = int.from_bytes(whole[8:10], "little")
    new = rng.choice(
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 3, 4, 4)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3)}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (4, 3, 4, 4)}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3, 2, 2)}",
            "{'descr': '|u1', 'fortran_order': True, 'shape': (4, 3, 4, 4)}",
            "{'descr': '|u1', 'shape': (4,)}",
            "[1]",
            "{",
            "__import__('os')",
            "(" * 90,
        )
    )
    return (
        whole[:10] + new.encode().ljust(n)[:n] + whole[10 + n :]
        if rng.random() < 0.7
        else flip(whole[:60], rng, others) + whole[60:]
    )


PLAIN = (flip, flip, overwrite, cut_off, leave_out, repeat, insert, splice, field, field)
FORMS: dict[str, tuple[Callable, ...]] = {
    "bytes": (),
    "mp4": (_box_damage(_boxes, 0, ">"),),
    "riff": (_box_damage(_chunks, 4, "<"),),
    "safetensors": (change_header, rename_tensor, break_numbers),
    "json": (change_json,),
    "jsonl": (change_json_line, change_line),
    "lines": (change_line,),
    "csv": (change_cell, change_line),
    "npy": (change_array_head,),
}
