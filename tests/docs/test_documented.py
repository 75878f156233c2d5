"""What the pages for users say is so: commands parse, settings and options exist, files are there, sentences are said.
`test_commands_run.py` runs the commands."""

from __future__ import annotations

import ast
import functools
import importlib.util
import itertools
import re
import tomllib
from collections.abc import Iterator

import pytest
import typer

from lipsync.cli.app import app
from lipsync.config.load import from_plain, option_names, overrides
from lipsync.config.schema import texture_names
from tests.support import ROOT
from tests.support.documented import Typed, inline, pages, typed

PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Options of other programs that the pages name beside our own.
FOREIGN_OPTIONS = {"--no-deps", "--torch-backend", "--build-arg", "--gpus"}
PRESENTER = ROOT / "samples" / "presenter" / "__main__.py"
_FILE = r".*\.(json|csv|mp4|html|tex|toml|py|md|png)"


@functools.cache
def root():
    return typer.main.get_command(app)


def parsed(words: list[str]) -> dict:
    """The parameters that our own parser takes these words for; fails where it refuses them."""
    command, name = root(), "lipsync"
    words = words[1:]
    while hasattr(command, "commands"):
        name, *words = words
        if name.startswith("-"):
            assert name in options_of(command), f"lipsync has no option {name}"
            return {}
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    return command.make_context(name, words).params


def options_of(command) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in own if name.startswith("-")} | {"--help", "-h"}


@functools.cache
def commands() -> dict[str, object]:
    """Every command by its words."""

    def below(command, path: str) -> Iterator[tuple[str, object]]:
        yield path, command
        for name, each in getattr(command, "commands", {}).items():
            yield from below(each, f"{path} {name}")

    return dict(below(root(), "lipsync"))


def check(line: Typed, words: list[str]) -> None:
    """One simple command: that its program would take it."""
    program = words[0]
    if program == "lipsync":
        given = parsed(words)
        from_plain(overrides(None, given.get("set_") or []))
        if texture := given.get("texture") or given.get("method"):
            assert texture in texture_names() or texture.endswith(".py")
    elif program.endswith(("python", "python3")) and words[1:2] == ["-m"]:
        assert importlib.util.find_spec(words[2]), f"there is no module {words[2]}"
    elif program.endswith(("python", "python3")):
        assert (ROOT / words[1]).is_file(), f"there is no file {words[1]}"
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(targets)
    elif program == "docker":
        arguments = [after.split("=")[0] for word, after in itertools.pairwise(words) if word == "--build-arg"]
        assert all(f"ARG {name}" in (ROOT / "Dockerfile").read_text() for name in arguments)
        if words[1] == "run" and "lipsync" in words:
            parsed(words[words.index("lipsync") :])
    for word in words:
        assert set(re.findall(r"\[([\w,-]+)\]$", word)) <= set(PYPROJECT["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_is_taken_by_its_program(page):
    for line in typed(page):
        for words in line.simple:
            try:
                check(line, words)
            except Exception as error:
                pytest.fail(f"{line.place}: {line.text}: {getattr(error, 'message', error)}", pytrace=False)


@pytest.mark.parametrize("page", PAGES)
def test_what_stands_between_backticks_exists(page):
    options = set().union(*map(options_of, commands().values())) | FOREIGN_OPTIONS
    options |= set(re.findall(r'"(--[\w-]+)"', PRESENTER.read_text()))
    wrong = []
    for words, number in inline(page):
        first, *rest = words.split()
        if first == "lipsync" and rest:
            known = max((name for name in commands() if f"{words} ".startswith(f"{name} ")), key=len)
            named = set(re.findall(r"(?<![\w-])--[\w-]+", words)) - options_of(commands()[known])
            ok = not named and (known != "lipsync" or rest[0].startswith("-") or not rest[0].islower())
        elif first.startswith("--"):
            ok = set(re.findall(r"(?<![\w-])--[\w-]+", words)) <= options
            ok = ok and all(_is_setting(each) for each in re.findall(r"--set (\S+)", words))
        elif (
            re.fullmatch(r"[a-z_]+\.[a-z_]+", words)
            and not re.fullmatch(_FILE, words)
            and words.split(".")[0] in option_names()
        ):
            ok = words in option_names()
        elif extra := re.search(r"\[([\w,-]+)\]['\"]?$", words if "pip install" in words else ""):
            ok = set(extra[1].split(",")) <= set(PYPROJECT["optional-dependencies"])
        elif re.fullmatch(r"(docs|tests|benchmarks|lipsync|samples|training|media|audio|video)/[\w./-]*\w", words):
            ok = (ROOT / words).exists()
        else:
            ok = True
        if not ok:
            wrong.append(f"{page.relative_to(ROOT)}, line {number}: `{words}`")
    assert not wrong, "\n".join(wrong)


def _is_setting(text: str) -> bool:
    """Whether `key=value` is an option and its value one of it; a value in capitals stands for one."""
    key, _, value = text.partition("=")
    if value.isupper():
        return key in option_names()
    from_plain(overrides(None, [text]))
    return True


@functools.cache
def sentences() -> str:
    """All text in the program's source, one piece a line; what is filled in is "…"."""
    found = []
    for package in ("lipsync", "media", "audio", "video"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_every_sentence_of_the_questions_is_one_that_the_program_says():
    said = re.findall(r"^#+ .*?`([^`]+)`", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), re.M)
    assert len(said) >= 15
    assert not [each for each in said if each not in sentences()]


def test_the_bibliography_is_that_of_the_citation_file():
    cite, citation = ((ROOT / name).read_text() for name in ("docs/cite.md", "CITATION.cff"))
    for fact in ("doi", "version", "license", "volume"):
        value = re.search(rf"^\s*{fact}: (\S+)", citation, re.M)[1]
        assert f"{{{value}}}" in cite, fact
