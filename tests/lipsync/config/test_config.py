"""One configuration from file, settings and options; wrong names get the nearest right one."""

import subprocess
import sys
import tomllib
from dataclasses import fields, is_dataclass, replace

import pytest

from lipsync.config.load import RENAMED, changed_settings, from_plain, load, option_names, to_plain, to_toml
from lipsync.config.schema import DubConfig, FaceConfig, WriteConfig
from lipsync.core.errors import LipsyncError, UsageError
from tests.support import ROOT


def test_nothing_given_is_the_default():
    assert load() == DubConfig()


def test_later_wins(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('batch = 2\ndevice = "cpu"\n[write]\ncrf = 10\npreset = "slow"\n')
    config = load(file, ["write.crf=11", "device=cuda:1"], {"device": "cuda:0", "texture": None})
    assert (config.batch, config.write, config.device, config.texture) == (
        2,
        WriteConfig(crf=11, preset="slow"),
        "cuda:0",
        "median",
    )


@pytest.mark.parametrize(
    ("setting", "section", "name", "value"),
    [
        ("face.index=2", "face", "index", 2),
        ("face.max_yaw_deg=30", "face", "max_yaw_deg", 30.0),
        ("face.at=10, 20.5", "face", "at", (10.0, 20.5)),
        ("face.at=[10,20]", "face", "at", (10.0, 20.0)),
        ("face.at=", "face", "at", None),
        ("sandbox.enabled=True", "sandbox", "enabled", True),
        ("face.dlib_predictor=a=b.dat", "face", "dlib_predictor", "a=b.dat"),
        ("median.fade=1,2,1", "median", "fade", (1.0, 2.0, 1.0)),
    ],
)
def test_settings_take_the_type_of_their_option(setting, section, name, value):
    got = getattr(getattr(load(settings=[setting]), section), name)
    assert got == value and type(got) is type(value)


#: Of options with few values.
OTHERS = {
    "backend": "dlib",
    "others": "rest",
    "timeline": "keep",
    "length": "bounce",
    "network": "paper",
    "encoder": "logmel",
    "blend": "feather",
    "language": "deu",
    "loudness": -16.0,
    "engine": "onnx",
}


def unlike(name, value):
    """Another value of the same type, for the option `name`."""
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + ' "quoted" \\ é'
    return (3.0, 4.5)


def changed(config):
    return replace(
        config,
        **{
            f.name: changed(value) if is_dataclass(value := getattr(config, f.name)) else unlike(f.name, value)
            for f in fields(config)
        },
    )


def test_every_option_survives_toml_and_plain_values():
    config = changed(DubConfig())
    assert from_plain(tomllib.loads(to_toml(config))) == config
    assert from_plain(to_plain(config)) == config
    assert tomllib.loads(to_toml(DubConfig())) and from_plain(tomllib.loads(to_toml())) == DubConfig()


def test_toml_text_explains(tmp_path):
    text = to_toml()
    assert "[face]  # Finding and following one face" in text and "# output rows rendered together" in text


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("write.crff=3", "Unknown option 'write.crff'. Did you mean 'write.crf'?"),
        ("crf=3", "Did you mean 'write.crf'?"),
        ("writ.crf=3", "Did you mean 'write'?"),
        ("zzzzzz=3", "`lipsync config` prints all options"),
        ("write=3", "'write' is a section"),
        ("write.language=en", "write.language cannot be 'en': of the speech, three letters"),
        ("write.crf=1.5", "write.crf must be a whole number, not '1.5'"),
        ("face.max_yaw_deg=wide", "face.max_yaw_deg must be a number, not 'wide'"),
        ("face.max_yaw_deg=nan", "must be a number"),
        ("face.at=3", "face.at must be 2 numbers or none, not '3'"),
        ("sandbox.enabled=yes", "sandbox.enabled must be true or false"),
        ("retime.length=lop", "Did you mean 'loop'?"),
        ("face.backend=mediapip", "Did you mean 'mediapipe'?"),
        ("texture=medain", "Did you mean 'median'?"),
        ("device=gpu", "Unknown device 'gpu'"),
        ("batch=0", "batch must be from 1 to 1024, not 0"),
        ("write.crf=900", "write.crf must be from 0 to 63"),
        ("batch", "no value"),
        ("texture.x=1", "texture must be text"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_name(setting, says):
    with pytest.raises(UsageError) as caught:
        load(settings=[setting])
    assert says in str(caught.value) and caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("batch = ", "is not TOML"),
        ("[write]\ncrff = 3\n", "Did you mean 'write.crf'?"),
        ('[write]\ncrf = "3"\n', "must be a whole number"),
        ("batch = true\n", "must be a whole number"),
        ("write = 3\n", "is a section"),
        ("[face]\nat = [1, 2, 3]\n", "must be 2 numbers"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, says):
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(file)
    assert says in str(caught.value) and "my.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="none.toml"):
        load(tmp_path / "none.toml")


def test_a_missing_lip_model_is_named_before_any_work(tmp_path):
    with pytest.raises(LipsyncError, match="gone.safetensors") as caught:
        load(settings=[f"lips.model={tmp_path / 'gone.safetensors'}"])
    assert caught.value.exit_status == 3
    (tmp_path / "mine.safetensors").touch()
    assert load(settings=[f"lips.model={tmp_path / 'mine.safetensors'}"]).lips.model


def test_whole_numbers_do_for_numbers_in_a_file():
    assert from_plain({"face": {"smooth_s": 1}}).face == FaceConfig(smooth_s=1.0)
    with pytest.raises(UsageError):
        from_plain({"write": {"crf": 16.5}})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_gets_the_sentence_that_names_the_new_one(tmp_path, old, new):
    section, _, key = old.partition(".")
    (tmp_path / "old.toml").write_text(f"[{section}]\n{key or 'hours'} = 1\n")
    for given in ({"settings": [f"{old}{'' if key else '.hours'}=1"]}, {"file": tmp_path / "old.toml"}):
        with pytest.raises(UsageError, match=f"The option '{old}'.* is now called '{new}'"):
            load(**given)
    assert new in option_names() and old not in option_names()


def test_textures_are_known_without_importing_any():
    code = (
        "import sys; from lipsync.config.schema import texture_names; "
        "assert 'median' in texture_names() and 'vq-vae' in texture_names(); "
        "assert not {'torch', 'numpy', 'lipsync.textures'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_are_read(tmp_path, encoding):
    file = tmp_path / "c.toml"
    file.write_bytes("[write]\r\ncrf = 14\r\n".encode(encoding))
    assert load(file).write.crf == 14


@pytest.mark.parametrize("path", [r"C:\Users\me\lips.safetensors", r"D:\x", "C:\\dir\\"])
def test_backslashes_get_their_sentence(tmp_path, path):
    file = tmp_path / "c.toml"
    file.write_text(f'[lips]\nmodel = "{path}"\n')
    with pytest.raises(UsageError, match="line 2: within double quotes a backslash .* single quotes, or with slashes"):
        load(file)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["write.crf=18", "batch=3", "texture=nearest", "lips.prior=none"],
        ["face.at=320,180", "train_texture=true", "retime.timeline=keep", "cache.max_gib=0.5"],
    ],
)
def test_changed_settings_give_the_same_configuration_back(settings):
    config = load(None, settings)
    assert load(None, changed_settings(config)) == config and len(changed_settings(config)) == len(settings)
