"""What MkDocs calls while it builds the site: pages that are made from the code, and those that lie outside `docs/`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

#: Pages that lie elsewhere in the repository, by their name on the site.
ELSEWHERE = {
    "index.md": "README.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "results.md": "benchmarks/RESULTS.md",
    "weights.md": "lipsync/weights/README.md",
    "samples.md": "samples/README.md",
}
_SITE_NAME = {path: name for name, path in ELSEWHERE.items()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of `docs/`, and the pages that are made."""
    from docs.generate.reference import commands_page, options_page, schemas_page

    pages = {name: rooted((ROOT / path).read_text(encoding="utf-8")) for name, path in ELSEWHERE.items()}
    pages |= {"options.md": options_page(), "commands.md": commands_page(), "schemas.md": schemas_page()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """A page of `docs/`, with links that lead out of it as the site has them."""
    return re.sub(r"\]\(\.\./([^)#]+)(#[^)]*)?\)", lambda found: f"]({_place(found[1])}{found[2] or ''})", markdown)


def rooted(markdown: str) -> str:
    """A page of the repository's root, with its links as the site has them."""
    return re.sub(
        r"\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)",
        lambda found: f"]({_place(found[1])}{found[2] or ''})",
        markdown,
    )


def _place(path: str) -> str:
    """Where a file of the repository is on the site."""
    return _SITE_NAME.get(path, path.removeprefix("docs/"))
