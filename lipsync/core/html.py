"""HTML pages from templates: every value is escaped, nothing in a name hides, and nothing foreign is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync.core.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def html_environment(package: str) -> Environment:
    """The templates in `package`'s folder "templates", beside "base.html" that they extend.

    A page is `html_environment(package).get_template(name).render(...)`, or `.generate(...)` piece by piece. A name
    that a template is not given is an error, never an empty place.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("lipsync.core")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _plain(value: object) -> object:
    """What a template prints: text without control characters, save what is marked as HTML already."""
    if not isinstance(value, str) or value.isprintable() or hasattr(value, "__html__"):
        return value
    return printable(value)
