"""The marks that are put into a finished video: XMP, and content credentials where somebody signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lipsync.config.schema import DubConfig, MarkConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.provenance.certificates import Identity, SignBytes, identity_of
from lipsync.provenance.consent import consent_of
from lipsync.provenance.manifest import EMBEDS, SOURCE_TYPE, Edit, check_identity, sidecar_of, sign_file
from lipsync.render.badge import WORDS, Badge, draw_words, make_badge, rows_of_badge
from lipsync.render.mark import Mark
from lipsync.render.plan import PlannedFaces
from lipsync.store.preflight import written_whole
from lipsync.store.receipt import MADE_BY, Marks
from media.xmp import append_xmp, source_type_packet

#: To try whether a label can be drawn at all.
_ANY_SIZE = (1280, 720)


def check_marks(config: DubConfig, out: Path, sign: SignBytes | None, force: bool) -> Identity | None:
    """Who will sign; None: nobody. UsageError, LipsyncError: that will not do, known before the work."""
    mark = config.mark
    consent_of(mark.consent)
    identity = identity_of(config.sign, sign)
    if not mark.enabled:
        if identity is not None or mark.badge or mark.aigc:
            raise UsageError("--no-mark goes with no mark: leave out --badge, mark.aigc and the options of sign.")
        return None
    if identity is not None:
        check_identity(identity)
        beside = sidecar_of(out)
        if out.suffix.lower() not in EMBEDS and beside.exists() and not force:
            raise LipsyncError(f"{beside} exists already. Add --force to replace it, or choose another name with -o.")
    if mark.badge:
        draw_words(WORDS.get(mark.badge, mark.badge), mark.badge_font, _ANY_SIZE)
    return identity


def labelled_rows(mark: MarkConfig, faces: Sequence[PlannedFaces], in_parts: bool, rate: float) -> np.ndarray:
    """(N,) bool: the rows that bear the label that is asked for: where only parts are dubbed, those, else all of a film
    in which a mouth is drawn anywhere. rate: rows a second."""
    shown = rows_of_badge(faces, rate)
    if not mark.badge:
        return np.zeros_like(shown)
    return shown if in_parts else np.full_like(shown, shown.any())


def mark_for(mark: MarkConfig, content: str) -> Mark | None:
    """The invisible watermark of a content's id; None where no marks are wanted."""
    return Mark.of(content) if mark.enabled else None


def badge_for(
    mark: MarkConfig, shown: np.ndarray, faces: Sequence[PlannedFaces], size: tuple[int, int]
) -> Badge | None:
    """The label for the rows `shown`; None where it is in none. size: (width, height)."""
    return make_badge(mark.badge, mark.badge_font, size, faces, shown) if shown.any() else None


class Sealing:
    """Puts what it can into the finished file of an output (call it with that file, before it has its name) and keeps
    what was written in `marks`. edit: what the content credentials say."""

    def __init__(self, edit: Edit, config: MarkConfig, out: Path, identity: Identity | None, has_badge: bool) -> None:
        self._edit, self._config, self._out, self._identity = edit, config, out, identity
        self._sidecar: bytes | None = None
        self._has_badge = has_badge
        self.marks = Marks(without=not config.enabled, consent=edit.consent)

    def __call__(self, path: Path) -> list[str]:
        """Notes on what could not be done."""
        if not self._config.enabled:
            return ["no mark says that this video was made by a machine: mark.enabled is false (--no-mark)"]
        written, suffix = ["watermark", "tags"] if self._edit.spans else [], self._out.suffix.lower()
        if self._edit.spans and append_xmp(path, source_type_packet(SOURCE_TYPE, f"{MADE_BY} {self._edit.version}")):
            written.append("XMP")
        if self._edit.spans and self._config.aigc:
            written.append("AIGC label")
        if self._has_badge:
            written.append("badge")
        self.marks = replace(self.marks, written=written, watermark=self._edit.content if self._edit.spans else "")
        if self._identity is None:
            return []
        self._sidecar = sign_file(path, suffix, self._edit, self._identity)
        beside = "" if self._sidecar is None else sidecar_of(self._out).name
        signed = [*written, "content credentials"]
        self.marks = replace(self.marks, written=signed, signer=self._identity.name, sidecar=beside)
        notes = [f"the content credentials are beside the video, in {beside}: keep both together"] if beside else []
        if self._identity.is_development:
            notes.append("signed with a development certificate: nobody vouches for who signed; readers say untrusted")
        return notes

    def finish(self) -> None:
        """Writes what lies beside the video, once that has its name."""
        if self._sidecar is not None:
            with written_whole(sidecar_of(self._out)) as part:
                part.write_bytes(self._sidecar)
