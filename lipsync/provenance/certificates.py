"""Who signs a manifest: a certificate with its key, a token behind PKCS#11, or a caller's function. Extra
`provenance`."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipsync.config.schema import SignConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.provenance.pkcs11 import token_signature
from lipsync.store.preflight import written_whole

if TYPE_CHECKING:
    from cryptography.x509 import Certificate  # pyright: ignore[reportMissingImports]  an extra

#: Bytes -> their signature: of an EC key over the digest of its size in DER, of RSA as PSS, of Ed25519 plain.
SignBytes = Callable[[bytes], bytes]
#: In every name of a development certificate.
DEVELOPMENT = "lipsync development certificate, untrusted"
#: Holds the password of an encrypted key file, or the PIN of a token.
PASSWORD = "LIPSYNC_SIGN_PASSWORD"  # noqa: S105  the variable's name
_DAYS = 365
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs. chain: certificates in PEM, the signer's first; algorithm: as C2PA names it, such as "ES256"; name: of
    the certificate; is_development: it was made by `lipsync sign init`."""

    chain: str
    algorithm: str
    sign: SignBytes
    name: str
    is_development: bool
    timestamp_url: str = ""


def needed(name: str) -> Any:
    """A module of the extra `provenance`. LipsyncError, with how to get it, where it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise LipsyncError(
            "Content credentials need the extra provenance: python -m pip install 'lipsync-dub[provenance]'."
        ) from error


def identity_of(config: SignConfig, sign: SignBytes | None = None) -> Identity | None:
    """Who signs by these options; None: nobody. sign: a function that signs in place of `sign.key`. UsageError: they do
    not go together, or name what cannot be used."""
    if not config.certificate and not config.key and sign is None:
        return None
    if not config.certificate:
        raise UsageError("sign.key is given and sign.certificate is not. Name the certificate (PEM) of the key.")
    if not config.key and sign is None:
        raise UsageError("sign.certificate is given and sign.key is not. Name its key: a PEM file or a pkcs11: URI.")
    if config.timestamp_url and not config.timestamp_url.startswith(("http://", "https://")):
        raise UsageError(
            f"sign.timestamp_url {config.timestamp_url} is no address that begins with http:// or https://."
        )
    x509 = needed("cryptography.x509")
    pem = _read(config.certificate, "sign.certificate")
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise UsageError(f"sign.certificate {config.certificate} holds no certificate in PEM. Export it so.") from error
    leaf = chain[0]
    algorithm = _algorithm(leaf, config.certificate)
    if sign is None:
        by_token = config.key.startswith("pkcs11:")
        sign = (
            token_signature(config.key, algorithm, os.environ.get(PASSWORD, ""))
            if by_token
            else _by_file(config.key, leaf, algorithm)
        )
    names = [str(one.value) for one in leaf.subject]
    name = next((str(one.value) for one in leaf.subject if one.oid == x509.NameOID.COMMON_NAME), "without a name")
    text = "".join(
        one.public_bytes(needed("cryptography.hazmat.primitives.serialization").Encoding.PEM).decode() for one in chain
    )
    return Identity(text, algorithm, sign, name, any(DEVELOPMENT in one for one in names), config.timestamp_url)


def _read(path: str, option: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{option} {path} cannot be read: {why}. Check the name.") from error


def _algorithm(leaf: Certificate, path: str) -> str:
    ec, rsa, ed25519 = (
        needed(f"cryptography.hazmat.primitives.asymmetric.{name}") for name in ("ec", "rsa", "ed25519")
    )
    key: Any = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        known = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
        if key.curve.name in known:
            return known[key.curve.name]
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return "PS256"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ED25519"
    raise UsageError(
        f"sign.certificate {path} has a kind of key that C2PA does not take. Use EC (P-256, P-384, P-521), RSA of 2048 "
        "bits or more, or Ed25519."
    )


def _by_file(path: str, leaf: Certificate, algorithm: str) -> SignBytes:
    serialization = needed("cryptography.hazmat.primitives.serialization")
    pem, password = _read(path, "sign.key"), os.environ.get(PASSWORD, "")
    try:
        key: Any = serialization.load_pem_private_key(pem, password.encode() if b"ENCRYPTED" in pem else None)
    except (TypeError, ValueError) as error:
        cure = f"Put its password into the variable {PASSWORD}." if b"ENCRYPTED" in pem else "Export it so."
        raise UsageError(f"sign.key {path} holds no private key in PEM that can be opened. {cure}") from error
    spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*spki) != leaf.public_key().public_bytes(*spki):
        raise UsageError(f"sign.key {path} does not belong to sign.certificate. Name the two that were made together.")
    return _signature(key, algorithm)


def _signature(key: Any, algorithm: str) -> SignBytes:
    if algorithm == "ED25519":
        return key.sign
    hashes = needed("cryptography.hazmat.primitives.hashes")
    if algorithm == "PS256":
        padding = needed("cryptography.hazmat.primitives.asymmetric.padding")
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return lambda data: key.sign(data, pss, hashes.SHA256())
    ec = needed("cryptography.hazmat.primitives.asymmetric.ec")
    digest = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}[algorithm]
    return lambda data: key.sign(data, ec.ECDSA(digest))


def make_development_certificate(folder: Path, force: bool = False) -> tuple[Path, Path]:
    """(certificate, key) in PEM, new in `folder`: good for a year, and vouched for by nobody, as every name in it says.
    The certificate's own issuer follows it; its key is not kept. LipsyncError where they exist or cannot be written."""
    certificate, key = folder / "lipsync-development-certificate.pem", folder / "lipsync-development-key.pem"
    for path in (certificate, key):
        if path.exists() and not force:
            raise LipsyncError(f"{path} exists already. Add --force to replace it, or choose another folder.")
    if not folder.is_dir():
        raise LipsyncError(f"The folder {folder} does not exist. Create it first.")
    serialization = needed("cryptography.hazmat.primitives.serialization")
    issuer, issuer_key = _certificate(f"{DEVELOPMENT} (issuer)")
    leaf, leaf_key = _certificate(DEVELOPMENT, issuer, issuer_key)
    with written_whole(key) as part:
        part.touch(0o600)
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        part.write_bytes(leaf_key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    with written_whole(certificate) as part:
        part.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (leaf, issuer)))
    return certificate, key


def _certificate(name: str, issuer: Certificate | None = None, issuer_key: Any = None) -> tuple[Certificate, Any]:
    """A certificate and its key, signed by the issuer, or, where there is none, by itself as an issuer. The extensions
    are those that C2PA 2.2, 14.5.1 asks for."""
    x509, oid = needed("cryptography.x509"), needed("cryptography.x509.oid")
    ec, hashes = needed("cryptography.hazmat.primitives.asymmetric.ec"), needed("cryptography.hazmat.primitives.hashes")
    key, is_issuer = ec.generate_private_key(ec.SECP256R1()), issuer is None
    subject = x509.Name(
        [
            x509.NameAttribute(oid.NameOID.ORGANIZATION_NAME, DEVELOPMENT),
            x509.NameAttribute(oid.NameOID.COMMON_NAME, name),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    uses = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    uses |= {"digital_signature": not is_issuer, "key_cert_sign": is_issuer, "crl_sign": is_issuer}
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.KeyUsage(**uses), critical=True)
    )
    if not is_issuer:
        signs_mail = oid.ExtendedKeyUsageOID.EMAIL_PROTECTION  # the use that C2PA takes for signing by anybody
        builder = builder.add_extension(x509.ExtendedKeyUsage([signs_mail]), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256()), key
