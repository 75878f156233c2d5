"""What the content credentials (C2PA) of any file say, and whether they and the file agree. Extra `provenance`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lipsync.core.errors import UsageError
from lipsync.core.text import printable, shortened
from lipsync.provenance.certificates import DEVELOPMENT, needed
from lipsync.provenance.manifest import DUB, LARGEST_SIDECAR, context, mime_of, sidecar_of
from media.credentials import credentials_of

_LONGEST = 200  # letters of what a stranger's file says
_MOST = 64  # ingredients or spans that are told of
#: Ends of the codes (C2PA 2.2, 15.2.2) that say what became of the content.
_AGREE = re.compile(r"assertion\.(data|bmff|boxes|collection)Hash\.match")
_DIFFER = re.compile(r"assertion\.(data|bmff|boxes|collection)Hash\.mismatch|assertion\.(bmff|data)Hash\.malformed")
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True, slots=True)
class Used:
    """A file that the manifest says was used. has_credentials: its own manifest is kept within."""

    title: str
    relationship: str
    has_credentials: bool


@dataclass(frozen=True, slots=True)
class ContentCredentials:
    """What a manifest says. place: "in the file" or "beside it"; is_sound: its signature is valid, and what it signs is
    whole; agrees: with the file's bytes, None = it does not bind them; is_trusted: the signer's certificate comes from
    an issuer of the given list, None = no list was given; is_development: of `lipsync sign init`; signed_at: by a time
    stamping service, empty = no time; problems: the reader's codes of failure."""

    place: str
    is_sound: bool
    agrees: bool | None
    is_trusted: bool | None
    is_development: bool
    signer: str = ""
    signed_at: str = ""
    made_by: str = ""
    title: str = ""
    source_type: str = ""
    id: str = ""
    spans: list[list[float]] = field(default_factory=list[list[float]])
    used: list[Used] = field(default_factory=list[Used])
    watermark: str = ""
    consent: dict[str, str] = field(default_factory=dict[str, str])
    problems: list[str] = field(default_factory=list[str])


def read_credentials(path: Path, trust: Path | None = None) -> tuple[ContentCredentials | None, str]:
    """The manifest in the file, or beside it where its kind cannot hold one, and why it could not be read; (None, "") =
    there is none. trust: issuers' certificates in PEM, who are believed. LipsyncError: the extra is missing.
    UsageError: `trust` cannot be read."""
    sidecar, inside = sidecar_of(path), credentials_of(path).c2pa
    if not inside and not sidecar.is_file():
        return None, ""
    c2pa = needed("c2pa")
    settings = _settings(trust)
    try:
        with path.open("rb") as file:
            beside = None if inside else _sidecar(sidecar)
            reader = c2pa.Reader.try_create(mime_of(path), file, beside, context=context(settings))
            if reader is None:
                return None, ""
            with reader:
                told = json.loads(reader.json())
    except (c2pa.C2paError, OSError, ValueError, RecursionError) as error:
        said = shortened(str(error), _LONGEST)
        return None, said or type(error).__name__
    return _understood(told, "in the file" if inside else "beside it", trust is not None), ""


def _sidecar(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_SIDECAR + 1)
    if len(content) > LARGEST_SIDECAR:
        raise ValueError(f"{path.name} is larger than {LARGEST_SIDECAR >> 20} MiB")
    return content


def _settings(trust: Path | None) -> dict[str, Any]:
    if trust is None:
        return {}
    try:
        with trust.open("rb") as file:
            pem = file.read(16 << 20).decode("ascii")
    except (OSError, ValueError) as error:
        raise UsageError(f"--trust {trust} is no list of certificates in PEM. Check the name.") from error
    if "BEGIN CERTIFICATE" not in pem:
        raise UsageError(f"--trust {trust} is no list of certificates in PEM. Check the name.")
    return {"trust": {"trust_anchors": pem}}


def _understood(told: Any, place: str, has_trust: bool) -> ContentCredentials:
    """A stranger's manifest: any value may be missing, or of any kind."""
    manifest = _dict(_dict(_dict(told).get("manifests")).get(str(_dict(told).get("active_manifest"))))
    results = _dict(_dict(_dict(told).get("validation_results")).get("activeManifest"))
    good, bad = _codes(results.get("success")), _codes(results.get("failure"))
    signed = _dict(manifest.get("signature_info"))
    generator = next(iter(_dicts(manifest.get("claim_generator_info"))), {})
    assertions = {str(one.get("label")): one.get("data") for one in _dicts(manifest.get("assertions"))}
    actions = [one for data in assertions.values() for one in _dicts(_dict(data).get("actions"))]
    types = [str(one["digitalSourceType"]) for one in actions if one.get("digitalSourceType")]
    about = _dict(assertions.get(DUB))
    differs = any(map(_DIFFER.fullmatch, bad))
    agrees = False if differs else True if any(map(_AGREE.fullmatch, good)) else None
    others = [code for code in bad if code != _UNTRUSTED and not _DIFFER.fullmatch(code)]
    names = [_short(signed.get("common_name")), _short(signed.get("issuer"))]
    return ContentCredentials(
        place=place,
        is_sound=not others and "claimSignature.validated" in good,
        agrees=agrees,
        is_trusted=_UNTRUSTED not in bad and "signingCredential.trusted" in good if has_trust else None,
        is_development=any(DEVELOPMENT in name for name in names),
        signer=" of ".join(dict.fromkeys(filter(None, names))),
        signed_at=_short(signed.get("time")),
        made_by=" ".join(filter(None, (_short(generator.get("name")), _short(generator.get("version"))))),
        title=_short(manifest.get("title")),
        source_type=_short(types[0].rpartition("/")[2]) if types else "",
        id=_short(about.get("id")),
        spans=list(_spans(actions))[:_MOST],
        used=[
            Used(_short(one.get("title")), _short(one.get("relationship")), bool(one.get("active_manifest")))
            for one in _dicts(manifest.get("ingredients"))[:_MOST]
        ],
        watermark=_short(about.get("watermark")),
        consent={_short(key): _short(value) for key, value in _dict(about.get("consent")).items()},
        problems=[_short(code) for code in dict.fromkeys(bad)][:_MOST],
    )


def _spans(actions: Sequence[dict[str, Any]]) -> Iterator[list[float]]:
    for action in actions:
        for change in _dicts(action.get("changes")):
            for region in _dicts(change.get("region")):
                time = _dict(region.get("time"))
                with suppress(ValueError):
                    first, last = float(str(time.get("start"))), float(str(time.get("end")))
                    if math.isfinite(first) and math.isfinite(last):
                        yield [first, last]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _codes(value: Any) -> list[str]:
    return [str(one.get("code")) for one in _dicts(value)]


def _short(value: Any) -> str:
    return shortened(printable(value), _LONGEST) if isinstance(value, str) else ""
