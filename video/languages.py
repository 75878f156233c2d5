"""Codes of languages as containers spell them."""

from __future__ import annotations

#: ISO 639-2: twenty languages have a code of terminology (T), which is MP4's, and one of libraries (B), Matroska's.
_LIBRARY = {
    "bod": "tib", "ces": "cze", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "fra": "fre",
    "hye": "arm", "isl": "ice", "kat": "geo", "mkd": "mac", "mri": "mao", "msa": "may", "mya": "bur", "nld": "dut",
    "ron": "rum", "slk": "slo", "sqi": "alb", "zho": "chi",
}  # fmt: skip
#: MOV has a list of its own, as FFmpeg writes it.
_QUICKTIME = {term: code for term, code in _LIBRARY.items() if term not in ("ces", "fra", "mri", "ron", "slk")}
_QUICKTIME |= {"fao": "fo ", "hrv": "hr ", "srp": "sr ", "swe": "sve"}
_TERM = {code: term for term, code in (*_LIBRARY.items(), *_QUICKTIME.items())}


def term_of(language: str) -> str:
    """The code of terminology, whichever spelling is given."""
    return _TERM.get(language, language)


def spelled(language: str, suffix: str) -> str:
    """The code as files with this ending have it."""
    term = term_of(language)
    if suffix == ".mov":
        return _QUICKTIME.get(term, term)
    return _LIBRARY.get(term, term) if suffix in (".mkv", ".webm") else term
