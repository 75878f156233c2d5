"""Content credentials: what the reference reader says of those that are written, and what is refused before."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lipsync.config.schema import SignConfig
from lipsync.core.errors import LipsyncError, UsageError
from tests.support.signing import SPANS, development, edit_of, flipped, media_at
from tests.support.video_clips import click_file, read, write_clip

c2pa = pytest.importorskip("c2pa")
pytest.importorskip("cryptography")

from lipsync.provenance import credentials  # noqa: E402
from lipsync.provenance.certificates import DEVELOPMENT, identity_of, make_development_certificate  # noqa: E402
from lipsync.provenance.credentials import read_credentials  # noqa: E402
from lipsync.provenance.manifest import check_identity, sidecar_of, sign_file  # noqa: E402


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> SignConfig:
    return development(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="module")
def identity(config):
    return identity_of(config)


@pytest.fixture
def target(tmp_path) -> Path:
    return write_clip(tmp_path / "target.mp4", 50)


def signed(path: Path, target: Path, identity, *heard: Path, **more) -> Path:
    write_clip(path, 50)
    manifest = sign_file(path, path.suffix, edit_of(target, *heard, **more), identity)
    if manifest is not None:
        sidecar_of(path).write_bytes(manifest)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_the_reference_reader_validates_it_and_sees_one_flipped_bit(tmp_path, target, identity, suffix):
    codec = {"codec": "libvpx-vp9"} if suffix == ".webm" else {}
    path, speech = write_clip(tmp_path / f"dub{suffix}", 20, **codec), click_file(tmp_path / "s.wav", "pcm_s16le")
    picture = read(path)
    manifest = sign_file(path, suffix, edit_of(target, speech, consent={"text": "Ann agreed"}), identity)
    if manifest is not None:
        sidecar_of(path).write_bytes(manifest)
    assert (manifest is None) == (suffix in (".mp4", ".mov")) and (read(path) == picture).all()
    found, why = read_credentials(path)
    assert why == "" and found.is_sound and found.agrees and found.problems == ["signingCredential.untrusted"]
    assert found.place == ("beside it" if manifest else "in the file") and found.is_development
    assert found.spans == SPANS and found.source_type == "compositeWithTrainedAlgorithmicMedia"
    assert [(one.title, one.relationship) for one in found.used] == [
        ("target.mp4", "parentOf"),
        ("s.wav", "componentOf"),
    ]
    assert found.id == "1dea" and found.consent == {"text": "Ann agreed"} and found.made_by == "lipsync 0.0"
    damaged = flipped(path, media_at(path) if manifest is None else path.stat().st_size // 2)
    if manifest is not None:
        sidecar_of(damaged).write_bytes(manifest)
    changed, _ = read_credentials(damaged)
    assert changed.is_sound and changed.agrees is False


def test_actions_are_opened_edited_and_placed(tmp_path, target, identity):
    path = signed(tmp_path / "dub.mp4", target, identity, click_file(tmp_path / "s.wav", "pcm_s16le"))
    manifest = c2pa.Reader(str(path)).get_active_manifest()
    actions = next(one for one in manifest["assertions"] if one["label"].startswith("c2pa.actions"))["data"]["actions"]
    assert [one["action"] for one in actions] == ["c2pa.opened", "c2pa.edited", "c2pa.placed"]
    assert actions[2]["parameters"]["ingredients"][0]["url"] != actions[0]["parameters"]["ingredients"][0]["url"]


def test_the_targets_own_manifest_is_kept_and_referred_to(tmp_path, target, identity):
    first = signed(tmp_path / "first.mp4", target, identity)
    second = signed(tmp_path / "second.mp4", first, identity)
    found, _ = read_credentials(second)
    assert found.agrees and found.used[0].title == "first.mp4" and found.used[0].has_credentials
    with c2pa.Reader(str(second)) as reader, c2pa.Reader(str(first)) as was:
        label = was.get_active_manifest()["label"]
        assert reader.get_manifest(label)["title"] == "dub.mp4"
        assert reader.get_active_manifest()["ingredients"][0]["active_manifest"] == label


def test_a_target_with_its_manifest_beside_it_is_a_parent_too(tmp_path, target, identity):
    first = signed(tmp_path / "first.mkv", target, identity)
    found, _ = read_credentials(signed(tmp_path / "second.mp4", first, identity))
    assert found.agrees and [(one.title, one.relationship, one.has_credentials) for one in found.used] == [
        ("first.mkv", "parentOf", True)
    ]
    first.write_bytes(first.read_bytes() + b"\0")  # now the manifest is of another file
    found, _ = read_credentials(signed(tmp_path / "third.mp4", first, identity))
    assert found.agrees and [(one.title, one.has_credentials) for one in found.used] == [("first.mkv", False)]


def test_a_manifest_of_another_file_does_not_agree(tmp_path, target, identity):
    path, other = signed(tmp_path / "a.mkv", target, identity), write_clip(tmp_path / "b.mkv", 30)
    sidecar_of(other).write_bytes(sidecar_of(path).read_bytes())
    assert read_credentials(other)[0].agrees is False


def test_a_valid_manifest_that_binds_no_content_does_not_agree():
    told = {
        "active_manifest": "a",
        "manifests": {"a": {"signature_info": {"common_name": "Studio"}}},
        "validation_results": {"activeManifest": {"success": [{"code": "claimSignature.validated"}]}},
    }
    found = credentials._understood(told, "beside it", False)
    assert found.is_sound and found.agrees is None and found.signer == "Studio"


@pytest.mark.parametrize("odd", [[], 3, None, "a", float("nan"), {"active_manifest": 4}])
def test_a_manifest_of_odd_values_says_nothing(odd):
    inside = {
        "signature_info": odd,
        "ingredients": [odd],
        "claim_generator_info": odd,
        "assertions": [odd],
        "title": odd,
    }
    inside["assertions"] = [
        {"label": "c2pa.actions", "data": {"actions": [{"changes": [{"region": [{"time": odd}]}]}]}}
    ]
    told = {"active_manifest": "a", "manifests": {"a": inside}, "validation_results": odd}
    for one in (odd, told):
        found = credentials._understood(one, "in the file", True)
        assert not found.is_sound and found.spans == [] and found.agrees is None


def test_whom_the_reader_trusts_is_the_users_choice(tmp_path, target, identity, config):
    path = signed(tmp_path / "dub.mp4", target, identity)
    (tmp_path / "other").mkdir()
    other, _ = make_development_certificate(tmp_path / "other")
    assert read_credentials(path)[0].is_trusted is None
    assert read_credentials(path, Path(config.certificate))[0].is_trusted is True
    assert read_credentials(path, other)[0].is_trusted is False
    for wrong in (path, tmp_path / "missing.pem"):
        with pytest.raises(UsageError, match="--trust"):
            read_credentials(path, wrong)


def test_every_name_of_a_development_certificate_says_so(config):
    from cryptography import x509

    for one in x509.load_pem_x509_certificates(Path(config.certificate).read_bytes()):
        assert all(DEVELOPMENT in str(name.value) for name in (*one.subject, *one.issuer))
    assert os.stat(config.key).st_mode & 0o077 == 0


def test_a_certificate_is_never_overwritten(tmp_path):
    development(tmp_path)
    with pytest.raises(LipsyncError, match="--force"):
        make_development_certificate(tmp_path)


def other_keys(folder: Path) -> dict[str, bytes]:
    """Keys in PEM by kind."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    key, how = ec.generate_private_key(ec.SECP256R1()), (s.Encoding.PEM, s.PrivateFormat.PKCS8)
    return {
        "another": key.private_bytes(*how, s.NoEncryption()),
        "locked": key.private_bytes(*how, s.BestAvailableEncryption(b"secret")),
        "none": b"hello",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": ""}, "sign.key"),
        ({"certificate": ""}, "sign.certificate"),
        ({"certificate": "missing.pem"}, "sign.certificate missing.pem cannot be read"),
        ({"certificate": "KEY"}, "holds no certificate"),
        ({"key": "another"}, "does not belong"),
        ({"key": "locked"}, "LIPSYNC_SIGN_PASSWORD"),
        ({"key": "none"}, "holds no private key"),
        ({"key": "pkcs11:object=a?module-path=x&pin-value=1234"}, "PIN"),
        ({"key": "pkcs11:token=a"}, "module-path"),
        ({"timestamp_url": "stamp.example"}, "sign.timestamp_url"),
    ],
)
def test_what_cannot_sign_is_refused_in_one_sentence(tmp_path, config, change, said, monkeypatch):
    monkeypatch.delenv("LIPSYNC_SIGN_PASSWORD", raising=False)
    for name, pem in other_keys(tmp_path).items():
        (tmp_path / name).write_bytes(pem)
        change = {key: str(tmp_path / name) if value == name else value for key, value in change.items()}
    change = {key: config.key if value == "KEY" else value for key, value in change.items()}
    with pytest.raises(UsageError, match=said) as refused:
        identity_of(replace(config, **change))
    assert "1234" not in str(refused.value)


def test_nobody_signs_unless_asked():
    assert identity_of(SignConfig()) is None


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa", "ed25519"])
def test_every_kind_of_key_signs(kind, tmp_path, target):
    config = signing_certificate(tmp_path, kind)
    identity = identity_of(config)
    check_identity(identity)
    assert read_credentials(signed(tmp_path / "dub.mp4", target, identity))[0].agrees


@pytest.mark.parametrize("fault", ["expired", "no signing"])
def test_a_certificate_that_no_reader_takes_is_refused_before_the_work(fault, tmp_path):
    identity = identity_of(signing_certificate(tmp_path, "p256", fault))
    with pytest.raises((UsageError, LipsyncError), match="cannot sign|cannot be signed"):
        check_identity(identity)


def test_a_callers_function_signs_and_its_failure_is_told(config, identity, tmp_path, target):
    asked = []

    def sign(data):
        asked.append(len(data))
        return identity.sign(data)

    own = identity_of(replace(config, key=""), sign)
    assert read_credentials(signed(tmp_path / "dub.mp4", target, own))[0].agrees and asked

    def fail(data):
        raise OSError("the card was pulled")

    path = write_clip(tmp_path / "other.mp4", 5)
    before = path.read_bytes()
    with pytest.raises(LipsyncError, match="the card was pulled"):
        sign_file(path, ".mp4", edit_of(target), identity_of(replace(config, key=""), fail))
    assert path.read_bytes() == before and not list(tmp_path.glob(".*"))


def test_an_ingredient_that_is_no_media_is_named(tmp_path, target, identity):
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(b"\0\0\0\x18ftypmp42 and then nothing that makes sense" * 9)
    found, _ = read_credentials(signed(tmp_path / "dub.mp4", target, identity, odd))
    assert found.agrees and found.used[1].title == "odd.mp4"


def signing_certificate(folder: Path, kind: str, fault: str = "") -> SignConfig:
    """A certificate for signing, and its key, made here."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    ca, issuer = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Issuer")])
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "Studio"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "S")]
    )
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    uses = dict.fromkeys(
        (
            "content_commitment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
            "key_cert_sign",
            "crl_sign",
        ),
        False,
    )
    signs = fault != "no signing"
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 9 * day)
        .not_valid_after(now - day if fault == "expired" else now + day)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
        .add_extension(x509.KeyUsage(digital_signature=signs, key_encipherment=not signs, **uses), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(ca, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(certificate.public_bytes(s.Encoding.PEM))
    (folder / "k.pem").write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    return SignConfig(certificate=str(folder / "c.pem"), key=str(folder / "k.pem"))
