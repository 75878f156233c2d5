"""The commands `verify` and `sign init`, as they are typed."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lipsync.cli.app import app
from tests.support.signing import edit_of, flipped, media_at
from tests.support.video_clips import write_clip


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_an_unmarked_file_is_no_failure(tmp_path):
    path = write_clip(tmp_path / "t.mp4", 5)
    text, plain = run("verify", path), run("verify", path, "--json")
    assert text.exit_code == 0 and text.output.startswith("t.mp4: no mark was found.")
    assert json.loads(plain.output)["verdict"] == "nothing"


@pytest.mark.parametrize("words", [["verify", "missing.mp4"], ["sign", "init", "missing"]])
def test_what_is_not_there_is_one_sentence(words, tmp_path):
    if words[0] == "sign":
        pytest.importorskip("cryptography")
    result = run(*words[:-1], tmp_path / words[-1])
    assert result.exit_code == 3 and result.output.count("\n") == 1 and "does not exist" in result.output


def test_from_a_new_certificate_to_a_verified_and_an_altered_video(tmp_path):
    pytest.importorskip("c2pa")
    pytest.importorskip("cryptography")
    from lipsync.config.load import load
    from lipsync.provenance.certificates import identity_of
    from lipsync.provenance.manifest import sign_file

    made = run("sign", "init", tmp_path)
    assert made.exit_code == 0 and "untrusted" in made.output
    settings = [word for word in made.output.split() if word.startswith("sign.")]
    identity = identity_of(load(settings=settings).sign)  # the options that it prints are right
    assert identity is not None
    path = write_clip(tmp_path / "dub.mp4", 20)
    sign_file(path, ".mp4", edit_of(write_clip(tmp_path / "t.mp4", 20)), identity)
    assert run("verify", path).exit_code == 0
    altered = run("verify", flipped(path, media_at(path)))
    assert altered.exit_code == 1 and "do not agree" in altered.output
    trusted = run("verify", path, "--trust", tmp_path / "lipsync-development-certificate.pem")
    assert trusted.exit_code == 0 and "it shows nothing of who signed" in " ".join(trusted.output.split())
    assert run("verify", path, "--trust", path).exit_code == 2
    assert run("sign", "init", tmp_path).exit_code == 3 and run("sign", "init", tmp_path, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--no-mark", "--badge", "eu"], "--no-mark"),
        (["--consent", "nobody.pdf"], "--consent nobody.pdf"),
        (["--badge", "人"], "mark.badge_font"),
        (["--set", "sign.key=k.pem"], "sign.certificate"),
    ],
)
def test_wrong_marks_are_refused_before_the_work(tmp_path, short_speech, options, said):
    target = write_clip(tmp_path / "t.mp4", 10)
    result = run("dub", target, short_speech, "-o", tmp_path / "out.mp4", *options)
    assert result.exit_code == 2 and said in result.output and not (tmp_path / "out.mp4").exists()
