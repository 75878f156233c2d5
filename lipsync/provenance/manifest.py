"""The content credentials of a dub: a C2PA manifest (spec 2.2), signed, inside the file or beside it. Extra
`provenance`."""

from __future__ import annotations

import io
import json
import mimetypes
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.provenance.certificates import Identity, needed
from media.atomic import atomic_write
from media.credentials import credentials_of
from media.xmp import SOURCE_TYPES

#: Of what lipsync draws: IPTC's digital source type.
SOURCE_TYPE = "compositeWithTrainedAlgorithmicMedia"
#: The assertion with what C2PA has no word for.
DUB = "lipsync.dub"
REDRAWN = "mouth re-drawn to match other speech"
#: Files into which the library writes; others get a sidecar.
EMBEDS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
_ANY, _C2PA = "application/octet-stream", "application/c2pa"
#: A manifest beside a file is no larger.
LARGEST_SIDECAR = 64 << 20
#: Nothing is fetched from the network, and large files are not held in memory.
_OFFLINE: dict[str, Any] = {
    "core": {"backing_store_memory_threshold_in_mb": 32},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
}


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A file that was used. relationship: "parentOf" the target, "componentOf" what is heard, "inputTo" what was only
    looked at; sha256: hex."""

    path: Path
    relationship: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Edit:
    """What a manifest says of a dub. title: of the file; id: of its receipt; content: hex, what its watermark
    holds; spans: [from, to] seconds that were re-drawn; consent: who agreed, as the receipt has it, empty = not
    said."""

    title: str
    id: str
    content: str
    version: str
    spans: Sequence[Sequence[float]]
    ingredients: Sequence[Ingredient]
    consent: dict[str, str]


def sidecar_of(out: str | Path) -> Path:
    """Where readers look for the manifest of a file that cannot hold one."""
    return Path(out).with_suffix(".c2pa")


def check_identity(identity: Identity) -> None:
    """UsageError where nothing can be signed so, or no reader would take it: known before the work. Signs a moment of
    silence; asks no time stamping service."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(160))
    c2pa, made = needed("c2pa"), io.BytesIO()
    builder = _builder({"title": "trial", "assertions": []})
    builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
    with _signer(identity, timestamp=False) as signer:
        sound.seek(0)
        builder.sign(signer, "audio/wav", sound, made)
    made.seek(0)
    result = json.loads(c2pa.Reader("audio/wav", made, context=context()).json())
    wrong = {one["code"] for one in result.get("validation_status", [])} - {"signingCredential.untrusted"}
    if wrong:
        said = "it has expired" if "signingCredential.expired" in wrong else ", ".join(sorted(map(str, wrong)))
        raise UsageError(f"sign.certificate cannot sign content credentials: {said}. Ask its issuer for another.")


def sign_file(path: Path, suffix: str, edit: Edit, identity: Identity) -> bytes | None:
    """Puts a signed manifest into the file, which is replaced as a whole; where its kind cannot hold one: the manifest
    for `sidecar_of`, bound to all of the file's bytes. LipsyncError: it could not be signed."""
    kind = EMBEDS.get(suffix.lower())
    plain, beside = _definition(edit), dict[str, bytes]()
    for number, one in enumerate(edit.ingredients):
        if (manifest := own_sidecar(one.path)) is not None and (known := _of_sidecar(one, manifest)):
            beside[name := f"ingredient-{number}"] = manifest
            plain["ingredients"].append(known | {"label": name, "manifest_data": {"format": _C2PA, "identifier": name}})
    builder = _builder(plain)
    builder.set_intent(needed("c2pa").C2paBuilderIntent.EDIT)
    for name, manifest in beside.items():
        builder.add_resource(name, io.BytesIO(manifest))
    for number, one in enumerate(edit.ingredients):
        if f"ingredient-{number}" not in beside:
            _add(builder, one, f"ingredient-{number}")
    with _signer(identity) as signer, path.open("rb") as source:
        if kind is None:
            builder.set_no_embed()
            return builder.sign(signer, mime_of(Path(suffix)), source, _Nowhere())
        with atomic_write(path) as signed, signed.open("w+b") as file:
            builder.sign(signer, kind, source, file)
    return None


def _definition(edit: Edit) -> dict[str, Any]:
    agent = {"name": "lipsync", "version": edit.version}
    edited: dict[str, Any] = {"action": "c2pa.edited", "softwareAgent": agent}
    if edit.spans:
        edited["digitalSourceType"] = SOURCE_TYPES + SOURCE_TYPE
        edited["changes"] = [
            {
                "description": REDRAWN,
                "region": [{"type": "temporal", "time": {"type": "npt", "start": f"{first:g}", "end": f"{last:g}"}}],
            }
            for first, last in edit.spans
        ]
    placed = [
        {"action": "c2pa.placed", "softwareAgent": agent, "parameters": {"ingredientIds": [f"ingredient-{number}"]}}
        for number, one in enumerate(edit.ingredients)
        if one.relationship == "componentOf"
    ]
    about: dict[str, Any] = {"id": edit.id} | ({"watermark": edit.content} if edit.spans else {})
    about |= {"consent": edit.consent} if edit.consent else {}
    about["inputs"] = [{"title": one.path.name, "sha256": one.sha256} for one in edit.ingredients]
    return {
        "title": edit.title,
        "claim_generator_info": [agent],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [edited, *placed]}},
            {"label": DUB, "data": about},
        ],
        "ingredients": [],
    }


def own_sidecar(path: Path) -> bytes | None:
    """The manifest beside a file that has none within; None: there is none, or it cannot be read."""
    beside = sidecar_of(path)
    with suppress(OSError):
        if beside != path and beside.stat().st_size <= LARGEST_SIDECAR and not credentials_of(path).c2pa:
            return beside.read_bytes()
    return None


def _of_sidecar(one: Ingredient, manifest: bytes) -> dict[str, Any]:
    """The ingredient as the library wants it told; empty where the manifest is of another file, or none."""
    c2pa = needed("c2pa")
    try:
        with one.path.open("rb") as file, c2pa.Reader(mime_of(one.path), file, manifest, context=context()) as reader:
            told = json.loads(reader.json())
            known = {"active_manifest": told["active_manifest"], "validation_results": told["validation_results"]}
            wrong = {status["code"] for status in told.get("validation_status", [])} - {"signingCredential.untrusted"}
    except (c2pa.C2paError, ValueError, KeyError, RecursionError):
        return {}
    about = {"title": one.path.name, "relationship": one.relationship, "format": mime_of(one.path)}
    return {} if wrong else about | known


def _add(builder: Any, one: Ingredient, label: str) -> None:
    """Adds it with its own manifest; where the file is none that the library reads, by its name alone."""
    about = json.dumps({"title": one.path.name, "relationship": one.relationship, "label": label})
    try:
        with one.path.open("rb") as file:
            builder.add_ingredient(about, mime_of(one.path), file)
    except needed("c2pa").C2paError:
        builder.add_ingredient(about, _ANY, io.BytesIO(b"-"))


def mime_of(path: Path) -> str:
    """The kind of a file, by its name."""
    known = {".mkv": "video/x-matroska", ".webm": "video/webm", ".m4v": "video/mp4", ".flac": "audio/flac"}
    return known.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or _ANY


def context(settings: dict[str, Any] | None = None) -> Any:
    """What the library works with: nothing is fetched from the network. settings: more."""
    return needed("c2pa").Context.from_dict(_OFFLINE | (settings or {}))


def _builder(plain: dict[str, Any]) -> Any:
    return needed("c2pa").Builder(json.dumps(plain), context=context())


@contextmanager
def _signer(identity: Identity, timestamp: bool = True) -> Iterator[Any]:
    """The library's signer. What goes wrong with it or with what it signs inside is a LipsyncError."""
    c2pa, failed = needed("c2pa"), list[Exception]()

    def sign(data: bytes) -> bytes:
        try:
            return identity.sign(data)
        except Exception as error:  # the library would print it
            failed.append(error)
            return b""

    algorithm, url = c2pa.C2paSigningAlg[identity.algorithm], identity.timestamp_url if timestamp else ""
    try:
        with c2pa.Signer.from_callback(sign, algorithm, identity.chain, url or None) as signer:
            yield signer
    except c2pa.C2paError as error:
        if failed and isinstance(failed[0], LipsyncError):
            raise failed[0] from error
        why = failed[0] if failed else error
        raise LipsyncError(f"The content credentials cannot be signed: {why}. Check the options of `sign`.") from error


class _Nowhere(io.RawIOBase):
    """Takes what is written, and keeps its length alone."""

    def __init__(self) -> None:
        super().__init__()
        self._at = self._end = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self) -> int:
        return self._at
