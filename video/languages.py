"""Codes of languages as containers spell them."""

from __future__ import annotations

#: ISO 639-2: twenty languages have a code of terminology (T), which MP4 wants, and one of libraries (B), which MOV and
#: Matroska want.
_LIBRARY_OF = {
    "bod": "tib", "ces": "cze", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "fra": "fre",
    "hye": "arm", "isl": "ice", "kat": "geo", "mkd": "mac", "mri": "mao", "msa": "may", "mya": "bur", "nld": "dut",
    "ron": "rum", "slk": "slo", "sqi": "alb", "zho": "chi",
}  # fmt: skip
_TERM_OF = {library: term for term, library in _LIBRARY_OF.items()}


def spelled(language: str, suffix: str) -> str:
    """The code as files with this ending want it; of any other ending: the code of terminology."""
    term = _TERM_OF.get(language, language)
    return _LIBRARY_OF.get(term, term) if suffix in (".mov", ".mkv", ".webm") else term
