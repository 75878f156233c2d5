"""Signatures by a key that stays in a token (PKCS#11, named by a URI as in RFC 7512)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from lipsync.core.errors import LipsyncError, UsageError

_DIGESTS = {"ES256": hashlib.sha256, "ES384": hashlib.sha384, "ES512": hashlib.sha512}


def token_signature(uri: str, algorithm: str, pin: str) -> Callable[[bytes], bytes]:
    """Signs with the key that a `pkcs11:` URI names by token, object or id; its `module-path` is the token's library.
    algorithm: as C2PA names it. UsageError: the URI lacks something, or has a PIN in it, which the receipt would show.
    The function raises LipsyncError where the token does not sign."""
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    named = {key: unquote_to_bytes(value) for key, _, value in (part.partition("=") for part in path.split(";"))}
    more = dict(parse_qsl(query))
    if "pin-value" in more:
        raise UsageError("sign.key has a PIN in it. Leave out pin-value, and put it into LIPSYNC_SIGN_PASSWORD.")
    if "module-path" not in more or not {"object", "id"} & named.keys():
        raise UsageError(
            "sign.key must name the key and the token's library, such as "
            "pkcs11:token=NAME;object=KEY?module-path=/usr/lib/softhsm/libsofthsm2.so"
        )
    try:
        pkcs11 = import_module("pkcs11")
    except ImportError as error:
        raise LipsyncError("A key in a token needs the package python-pkcs11: pip install python-pkcs11.") from error

    def sign(data: bytes) -> bytes:
        try:
            token = pkcs11.lib(more["module-path"]).get_token(token_label=_text(named.get("token")))
            with token.open(user_pin=pin or None) as session:
                kind = pkcs11.ObjectClass.PRIVATE_KEY
                key = session.get_key(object_class=kind, label=_text(named.get("object")), id=named.get("id"))
                return _by_token(pkcs11, key, algorithm, data)
        except (pkcs11.PKCS11Error, RuntimeError) as error:
            why = str(error) or type(error).__name__
            raise LipsyncError(f"The token of sign.key does not sign: {why}. Check its names and its PIN.") from error

    return sign


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _by_token(pkcs11: Any, key: Any, algorithm: str, data: bytes) -> bytes:
    if algorithm in _DIGESTS:
        # not every token makes the digest itself
        plain = key.sign(_DIGESTS[algorithm](data).digest(), mechanism=pkcs11.Mechanism.ECDSA)
        half = len(plain) // 2
        utils = import_module("cryptography.hazmat.primitives.asymmetric.utils")
        return utils.encode_dss_signature(int.from_bytes(plain[:half]), int.from_bytes(plain[half:]))
    if algorithm == "ED25519":
        return key.sign(data, mechanism=pkcs11.Mechanism.EDDSA)
    pss = pkcs11.Mechanism.SHA256, pkcs11.MGF.SHA256, 32
    return key.sign(data, mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS_PSS, mechanism_param=pss)
