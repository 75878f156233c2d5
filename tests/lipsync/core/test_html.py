"""Pages from templates: escaped, printable, complete."""

import pytest

from lipsync.core.html import html_environment


def _render(body: str, **facts: object) -> str:
    source = '{% extends "base.html" %}{% block body %}' + body + "{% endblock %}"
    return html_environment("lipsync.core").from_string(source).render(**facts)


def test_values_are_escaped_and_nothing_in_them_hides():
    text = _render("<p title='{{ name }}'>{{ name }}</p>", name="<b>'\"&\u202e\x1b[2J\n")
    assert text.count("&lt;b&gt;&#39;&#34;&amp;\ufffd\ufffd[2J ") == 2
    assert "<b>" not in text and "\u202e" not in text and "\x1b" not in text


def test_html_marked_as_such_stays():
    from markupsafe import Markup

    assert "<svg>\n</svg>" in _render("{{ plot }}", plot=Markup("<svg>\n</svg>"))


def test_a_name_without_a_value_is_an_error():
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="missing"):
        _render("{{ missing }}")


def test_the_page_loads_nothing_from_elsewhere():
    text = _render("")
    assert "default-src 'none'; style-src 'unsafe-inline'\"" in text
    assert "http:" not in text and "https:" not in text and "<script" not in text and "url(" not in text
    assert text.startswith("<!doctype html>")
