"""What the pages for users tell people to type: command lines, options and settings, as they stand in the Markdown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

#: Programs with which a line of an indented block is a command; other such lines are formulas, Python, or listings.
PROGRAMS = (
    "lipsync", "make", "pip", "pipx", "uv", "python", "python3", "docker", "apt", "apt-get", "ray", "export", "git",
    "espeak-ng", "some-program", "some-speech-program", ".venv/bin/python", ".venv/bin/pre-commit",
)  # fmt: skip
_FENCE = re.compile(r"^(```+)\s*(\w*)")


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line, as it is typed. place: file and line; page: the file's name in the repository."""

    text: str
    page: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.page}, line {self.line}"

    @property
    def simple(self) -> list[list[str]]:
        """Its simple commands, in words: those of a pipe and of a list, without what is redirected."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        found: list[list[str]] = [[]]
        words = iter(list(lexer))
        for word in words:
            if set(word) <= set("<>"):
                next(words)
            elif set(word) <= set("|&;"):
                found.append([])
            else:
                found[-1].append(word)
        return [each for each in found if each]


def pages() -> list[Path]:
    """Everything that a user reads, but the list of changes and the tables of measured figures."""
    own = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "samples/README.md")]
    return [*own, *sorted((ROOT / "docs").glob("*.md"))]


def typed(page: Path) -> list[Typed]:
    """The command lines of a page: of its `sh` blocks every line, of its indented blocks those of a known program."""
    found, language, whole = [], None, page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(whole, 1):
        fence = _FENCE.match(line.strip())
        text = line.strip()
        if fence:
            language = (fence[2] or "text") if language is None else None
        elif not text or text.startswith("#"):
            continue
        elif language == "sh" or (language is None and line.startswith("    ") and _is_command(line)):
            found.append(Typed(text, str(page.relative_to(ROOT)), number))
    return found


def inline(page: Path) -> Iterator[tuple[str, int]]:
    """(words, line) of what stands between backticks in a page's text and tables."""
    language = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence := _FENCE.match(line.strip()):
            language = (fence[2] or "text") if language is None else None
        elif language is None and not line.startswith("    "):
            yield from ((words, number) for words in re.findall(r"`([^`]+)`", line))


def _is_command(line: str) -> bool:
    words = line.split()
    return bool(words) and words[0] in PROGRAMS


def python_blocks(page: Path) -> list[Typed]:
    """The fenced Python of a page, each block whole."""
    text = page.read_text(encoding="utf-8")
    name = str(page.relative_to(ROOT))
    return [
        Typed(found[1], name, text.count("\n", 0, found.start()) + 1)
        for found in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S)
    ]
