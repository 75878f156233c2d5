"""A key that stays in a token signs as one in a file does. Needs SoftHSM (Debian: softhsm2) and python-pkcs11."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lipsync.config.schema import SignConfig
from lipsync.core.errors import LipsyncError
from tests.support.signing import development, edit_of
from tests.support.video_clips import write_clip

MODULES = [Path("/usr/lib/softhsm/libsofthsm2.so"), Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")]


@pytest.fixture
def token(tmp_path, monkeypatch) -> SignConfig:
    """A development certificate whose key lies in a new token "dub" as "key", PIN 4321."""
    for name in ("pkcs11", "c2pa", "cryptography"):
        pytest.importorskip(name)
    module = Path(os.environ.get("SOFTHSM2_MODULE", "")) if "SOFTHSM2_MODULE" in os.environ else None
    module = module or next((one for one in MODULES if one.is_file()), None)
    program = shutil.which("softhsm2-util")
    if module is None or program is None:
        pytest.skip("SoftHSM is not installed")
    from cryptography.hazmat.primitives import serialization as s

    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm.conf"))
    config = development(tmp_path)
    key = s.load_pem_private_key(Path(config.key).read_bytes(), None)
    pkcs8 = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (tmp_path / "k.pem").write_bytes(pkcs8)
    for what in (
        ["--init-token", "--free", "--label", "dub", "--so-pin", "1234"],
        ["--import", str(tmp_path / "k.pem"), "--token", "dub", "--label", "key", "--id", "01"],
    ):
        subprocess.run([program, "--module", str(module), *what, "--pin", "4321"], check=True, capture_output=True)
    return SignConfig(certificate=config.certificate, key=f"pkcs11:token=dub;object=key?module-path={module}")


def test_a_token_signs_with_the_right_pin(token, tmp_path, monkeypatch):
    from lipsync.provenance.certificates import identity_of
    from lipsync.provenance.credentials import read_credentials
    from lipsync.provenance.manifest import check_identity, sign_file

    monkeypatch.setenv("LIPSYNC_SIGN_PASSWORD", "4321")
    identity = identity_of(token)
    assert identity is not None
    check_identity(identity)
    target = write_clip(tmp_path / "t.mp4", 5)
    path = write_clip(tmp_path / "dub.mp4", 5)
    sign_file(path, ".mp4", edit_of(target), identity)
    found, _ = read_credentials(path)
    assert found is not None and found.is_sound and found.agrees
    monkeypatch.setenv("LIPSYNC_SIGN_PASSWORD", "wrong")
    wrong = identity_of(token)
    assert wrong is not None
    with pytest.raises(LipsyncError, match="its PIN"):
        check_identity(wrong)
