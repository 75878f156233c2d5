"""What any video says of its own making: every layer, whether signature and content agree, and what that means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import av.error

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.text import few_spans, printable, readable, shortened
from lipsync.provenance.credentials import ContentCredentials, Used, read_credentials
from lipsync.provenance.labels import AIGC, content_in, read_aigc, spans_in
from lipsync.provenance.watermark import Watermark, watermark_in
from lipsync.store.cache import content_hash
from lipsync.store.preflight import check_readable, receipt_path
from lipsync.store.receipt import MADE_BY, Receipt
from media import MediaError
from media.container import InputLimits, open_media
from media.credentials import Credentials, credentials_of

#: "signed": signature and content agree; "altered": they do not; "marked": marks without a signature, or with one that
#: binds nothing; "receipt": no mark, but the receipt beside it is of these bytes; "nothing": no mark; "unreadable": and
#: no video either; "unchecked": content credentials that were not read, because the extra is missing.
Verdict = Literal["signed", "altered", "marked", "receipt", "nothing", "unreadable", "unchecked"]
#: Digital source types (IPTC) of what a machine made or changed.
BY_MACHINE = {
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "algorithmicMedia",
    "compositeSynthetic",
    "virtualRecording",
}
_TAG = "digital_source_type"
_LONGEST = 200
_NO_RECEIPT = "its receipt, to which it could be compared"
_COLUMNS, _MOST_USED = 80, 8
_SURE = "Whoever has the file can write or remove these: they are a statement, not a proof."
#: For those who must decide what to believe.
_MEANS: Mapping[Verdict, str] = {
    "signed": "The file is as it was when it was signed. Whether to believe what it says depends on who signed it.",
    "altered": "The file was changed after it was signed, or the credentials are those of another file. Do not rely on "
    "what they say; ask for the original.",
    "marked": _SURE,
    "unchecked": "Whether signature and content agree is not known yet.",
    "receipt": "The file is the one that the receipt tells of. A receipt is not signed: anybody can write one.",
    "nothing": "That does not show that the video is as it was filmed: marks are lost where a site or program writes a "
    "file anew, and many tools write none.",
    "unreadable": "The file is damaged, or not a video. Copy or export it again.",
}


@dataclass(frozen=True, slots=True)
class ReceiptFound:
    """The receipt beside a file. is_of_file: its hash is that of the file; None: it names none."""

    path: str
    id: str
    is_of_file: bool | None
    edited: str
    spans: list[list[float]]
    without_marks: bool
    consent: dict[str, str]
    watermark: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was found. unread: layers that could not be read, and why; spans: [from, to] seconds that were re-drawn;
    spans_by: who says so, such as "receipt says"; tags: those that speak of its making; watermark_by: of the other
    layers that name a watermark, whether it is the one that was found."""

    path: str
    verdict: Verdict
    by_machine: bool
    spans: list[list[float]]
    spans_by: str
    credentials: ContentCredentials | None
    xmp_source_type: str
    tags: dict[str, str]
    aigc: dict[str, str]
    receipt: ReceiptFound | None
    watermark: Watermark
    watermark_by: dict[str, bool] = field(default_factory=dict[str, bool])
    missing: list[str] = field(default_factory=list[str])
    unread: dict[str, str] = field(default_factory=dict[str, str])

    def to_plain(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        return readable(asdict(self) | {"summary": self.summary, "meaning": _MEANS[self.verdict]})

    @property
    def summary(self) -> str:
        """One sentence."""
        signer = self.credentials.signer if self.credentials else ""
        what = "edited or made with AI" if self.by_machine else "nothing of AI is stated"
        edited = "edited with AI" if self.by_machine else "not edited"
        return {
            "signed": f"{what}; unchanged since it was signed by {signer or 'somebody without a name'}",
            "altered": "its content credentials and its content do not agree"
            if self.credentials
            else "its content credentials are damaged",
            "unchecked": "it has content credentials, which were not checked",
            "marked": f"{what}, as its marks say; no signature stands for it",
            "receipt": f"no mark; {edited}, as the receipt beside it says",
            "nothing": "no mark was found",
            "unreadable": "this is no video that can be read, and no mark was found",
        }[self.verdict]

    def lines(self) -> list[str]:
        """For people, in 80 columns."""
        told = [f"{Path(self.path).name}: {self.summary}."]
        told += [f"  {name}: {said}" for name, said in self._layers()]
        if self.spans:
            told.append(f"  Re-drawn: {few_spans(self.spans)}, as the {self.spans_by}")
        consent = self.credentials.consent if self.credentials else self.receipt.consent if self.receipt else {}
        if consent:
            told.append(f"  Consent, as whoever made it says: {consent.get('text') or consent.get('file', '')}")
        if self.missing:
            told.append(f"  Missing: {', '.join(self.missing)}")
        return [_wrapped(line) for line in (*told, _MEANS[self.verdict])]

    def _layers(self) -> Iterator[tuple[str, str]]:
        unread = self.unread
        yield "Content credentials", unread.get("content credentials") or _of_credentials(self.credentials)
        if self.credentials is not None:
            yield from (("    " + name, said) for name, said in _details(self.credentials))
        yield "XMP", f"digital source type {self.xmp_source_type}" if self.xmp_source_type else "none"
        yield "Tags", unread.get("tags") or "; ".join(f"{key} {value}" for key, value in self.tags.items()) or "none"
        if self.aigc:
            yield "AIGC label", ", ".join(f"{key} {value}" for key, value in self.aigc.items())
        yield "Receipt", unread.get("receipt") or _of_receipt(self.receipt)
        mark = self.watermark
        yield "Watermark", _of_watermark(mark, self.watermark_by)


def _wrapped(line: str) -> str:
    indent = len(line) - len(line.lstrip())
    return textwrap.fill(
        line.strip(),
        _COLUMNS,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent and indent + 4),
        break_on_hyphens=False,
    )


def verify(path: str | Path, trust: str | Path | None = None, limits: InputLimits = InputLimits()) -> Verification:
    """What the file says of its making. trust: issuers' certificates (PEM) that are believed. LipsyncError: the file
    cannot be opened at all; UsageError: `trust` cannot."""
    path, unread = Path(path), dict[str, str]()
    check_readable(path, "file")
    credentials, is_checked = _credentials(path, trust, unread)
    outside = credentials_of(path)
    tags, is_media = _tags(path, limits, unread)
    label = next((value for key, value in tags.items() if key.upper() == AIGC), "")
    aigc = read_aigc(label) or {}
    receipt = _receipt(path, unread)
    mark = watermark_in(path, limits) if is_media else Watermark(note="not looked for: no picture can be read")
    stated = [credentials and credentials.source_type, outside.source_type, tags.get(_TAG)]
    by_machine = any(one in BY_MACHINE for one in stated) or bool(aigc or mark.id) or MADE_BY in tags.get("comment", "")
    by_machine |= receipt is not None and receipt.is_of_file is True and bool(receipt.edited)
    spans, spans_by = _spans(credentials, tags, receipt, mark)
    has_marks = bool(credentials or outside.source_type or aigc or mark.id or _speaking(tags)) or outside.c2pa
    return Verification(
        path=str(path),
        verdict=_verdict(credentials, is_checked, has_marks, receipt, is_media, unread),
        by_machine=by_machine,
        spans=spans,
        spans_by=spans_by,
        credentials=credentials,
        xmp_source_type=shortened(outside.source_type, _LONGEST),
        tags=_speaking(tags),
        aigc={shortened(key, 40): shortened(value, _LONGEST) for key, value in list(aigc.items())[:16]},
        receipt=receipt,
        watermark=mark,
        watermark_by=_named(mark, credentials, tags, receipt),
        missing=list(_missing(credentials, outside, tags, receipt, unread)) if by_machine else [],
        unread=unread,
    )


def _verdict(
    credentials: ContentCredentials | None,
    is_checked: bool,
    has_marks: bool,
    receipt: ReceiptFound | None,
    is_media: bool,
    unread: Mapping[str, str],
) -> Verdict:
    if "content credentials" in unread:
        return "altered" if is_checked else "unchecked"
    if credentials is not None and (not credentials.is_sound or credentials.agrees is False):
        return "altered"
    if credentials is not None and credentials.agrees:
        return "signed"
    if has_marks:
        return "marked"
    if receipt is not None and receipt.is_of_file:
        return "receipt"
    return "nothing" if is_media else "unreadable"


def _credentials(
    path: Path, trust: str | Path | None, unread: dict[str, str]
) -> tuple[ContentCredentials | None, bool]:
    """With them whether they could be checked, had there been any."""
    try:
        found, why = read_credentials(path, None if trust is None else Path(trust))
    except UsageError:
        raise
    except LipsyncError as missing:
        unread["content credentials"] = f"there are some, and they were not read. {missing}"
        return None, False
    if why:
        unread["content credentials"] = f"there are some, and they cannot be read ({why})"
    return found, True


def _tags(path: Path, limits: InputLimits, unread: dict[str, str]) -> tuple[dict[str, str], bool]:
    """The file's tags, and whether it is a film or a sound."""
    try:
        with open_media(path, limits) as container:
            is_media = bool(container.streams.video or container.streams.audio)
            # Matroska spells some in capitals
            known = {
                key.lower() if key.lower() in (_TAG, "comment", "title") else key: value
                for key, value in container.metadata.items()
            }
            return known, is_media
    except (MediaError, av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        unread["tags"] = (
            f"the file cannot be read ({shortened(getattr(error, 'strerror', None) or str(error), _LONGEST)})"
        )
        return {}, False


def _speaking(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that tell of a file's making, cut short."""
    told = {key: tags[key] for key in (_TAG, f"target_{_TAG}") if tags.get(key)}
    comment = tags.get("comment", "")
    if MADE_BY in comment or "Written by lipsync" in comment:
        told["comment"] = comment.partition("\n")[0].partition(" Made from target")[0]
    return {key: shortened(printable(value), _LONGEST) for key, value in told.items()}


def _receipt(path: Path, unread: dict[str, str]) -> ReceiptFound | None:
    beside = receipt_path(path)
    if not beside.is_file():
        return None
    receipt = Receipt.read(beside)
    if receipt is None:
        unread["receipt"] = f"{beside.name} is damaged, or no receipt"
        return None
    same = content_hash(path) == receipt.output.sha256 if receipt.output.sha256 else None
    spans = [list(map(float, one)) for one in receipt.changed if len(one) == 2]
    marks = receipt.marks
    return ReceiptFound(
        beside.name,
        shortened(receipt.id, 64),
        same,
        shortened(receipt.ai_edited, _LONGEST),
        spans,
        marks.without,
        marks.consent,
        shortened(marks.watermark, 64),
    )


def _spans(
    credentials: ContentCredentials | None, tags: Mapping[str, str], receipt: ReceiptFound | None, mark: Watermark
) -> tuple[list[list[float]], str]:
    """From whoever is to be believed most."""
    if credentials is not None and credentials.spans:
        return credentials.spans, "content credentials say"
    if receipt is not None and receipt.is_of_file and receipt.spans:
        return receipt.spans, "receipt says"
    said = spans_in(tags.get("comment", ""))
    if said or not mark.spans:
        return said, "comment says" if said else ""
    return mark.spans, "watermark shows"


def _named(
    mark: Watermark, credentials: ContentCredentials | None, tags: Mapping[str, str], receipt: ReceiptFound | None
) -> dict[str, bool]:
    """Of the layers that name a watermark, whether it is the one that was found; empty where none was."""
    said = {
        "content credentials": credentials.watermark if credentials else "",
        "comment": content_in(tags.get("comment", "")),
        "receipt": receipt.watermark if receipt else "",
    }
    return {layer: one == mark.id for layer, one in said.items() if one and mark.id}


def _of_watermark(mark: Watermark, named: Mapping[str, bool]) -> str:
    if not mark.id:
        return mark.note or "none"
    told = [f"content {mark.id}, found at {few_spans(mark.spans)}" if mark.spans else f"content {mark.id}", mark.note]
    told += [
        f"the {layer} {'names it' if same else 'names another: of another video'}" for layer, same in named.items()
    ]
    return "; ".join(filter(None, told))


def _missing(
    credentials: ContentCredentials | None,
    outside: Credentials,
    tags: Mapping[str, str],
    receipt: ReceiptFound | None,
    unread: Mapping[str, str],
) -> Iterator[str]:
    """What a file that is made with AI could have, and has not."""
    if credentials is None and "content credentials" not in unread:
        yield "a signature (content credentials)"
    if not outside.source_type and not tags.get(_TAG):
        yield "the digital source type"
    if receipt is None and "receipt" not in unread and MADE_BY in tags.get("comment", ""):
        yield _NO_RECEIPT


def _of_credentials(found: ContentCredentials | None) -> str:
    if found is None:
        return "none"
    if not found.is_sound:
        wrong = ", ".join(code for code in found.problems if code != "signingCredential.untrusted")
        return f"{found.place}, and not valid ({wrong or 'no valid signature'})"
    if found.agrees is False:
        return f"{found.place}; the signature is valid, but the content is not what was signed"
    if found.agrees is None:
        return f"{found.place}; the signature is valid, but says nothing of the content: it could belong to any file"
    return f"{found.place}; signature and content agree"


def _details(found: ContentCredentials) -> Iterator[tuple[str, str]]:
    when = f", at {found.signed_at}" if found.signed_at else ""
    yield "signed by", f"{found.signer or 'nobody by name'}{when} ({_vouched(found)})"
    if found.made_by:
        yield "made by", found.made_by
    if found.source_type:
        yield "digital source type", found.source_type
    used = [f"{one.title or 'a file without a name'} ({_role(one)})" for one in found.used]
    if used:
        yield "made from", ", ".join(used[:_MOST_USED]) + (" and more" if len(used) > _MOST_USED else "")


def _role(one: Used) -> str:
    roles = {"parentOf": "which was edited", "componentOf": "put into it", "inputTo": "looked at"}
    own = "; it has content credentials of its own" if one.has_credentials else ""
    return roles.get(one.relationship, one.relationship) + own


def _vouched(found: ContentCredentials) -> str:
    if found.is_development:
        return "made for trials: it shows nothing of who signed"
    if found.is_trusted is None:
        return "a name that was not checked: name the issuers you believe with --trust"
    return "an issuer of --trust vouches for it" if found.is_trusted else "no issuer of --trust vouches for it"


def _of_receipt(found: ReceiptFound | None) -> str:
    if found is None:
        return "none beside it"
    if found.is_of_file is None:
        return f"{found.path}; it names no hash"
    if not found.is_of_file:
        return f"{found.path}, of other bytes: the file was written anew since, or this is another one's receipt"
    marks = "; it was made without marks (--no-mark)" if found.without_marks else ""
    return f"{found.path}, of just these bytes{marks}"
