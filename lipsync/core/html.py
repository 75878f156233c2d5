"""HTML pages from templates: every value is escaped, nothing in a name hides, and nothing foreign is loaded."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from lipsync.core.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

    from lipsync.core.arrays import Array


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


def jpeg_text(rgb: Array, quality: int) -> str:
    """An (H,W,3) uint8 picture as JPEG in base64, for a page's data address."""
    import cv2
    import numpy as np

    _, packed = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return base64.b64encode(packed.tobytes()).decode()


def _plain(value: object) -> object:
    """What a template prints: text without control characters, save what is marked as HTML already."""
    if not isinstance(value, str) or value.isprintable() or hasattr(value, "__html__"):
        return value
    return printable(value)
