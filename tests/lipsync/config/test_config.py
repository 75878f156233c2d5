"""One configuration from file, settings and options; wrong names get the nearest right one."""

import subprocess
import sys
import tomllib
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from lipsync.config.load import RENAMED, from_plain, load, option_names, to_plain, to_toml
from lipsync.config.schema import DubConfig, FaceConfig, LimitsConfig, WriteConfig
from lipsync.core.errors import LipsyncError, UsageError
from media.container import InputLimits


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
        ("retime.enabled=False", "retime", "enabled", False),
        ("face.dlib_predictor=a=b.dat", "face", "dlib_predictor", "a=b.dat"),
        ("median.fade=1,2,1", "median", "fade", (1.0, 2.0, 1.0)),
    ],
)
def test_settings_take_the_type_of_their_option(setting, section, name, value):
    got = getattr(getattr(load(settings=[setting]), section), name)
    assert got == value and type(got) is type(value)


def unlike(value, hint):
    """Another value of the same type."""
    if get_origin(hint) is Literal:
        return get_args(hint)[1]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + ' "quoted" \\ é'
    return (3.0, 4.5)


def changed(config):
    hints = get_type_hints(type(config))
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return replace(config, **{n: changed(v) if is_dataclass(v) else unlike(v, hints[n]) for n, v in values.items()})


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
        ("write.crf=1.5", "write.crf must be a whole number, not '1.5'"),
        ("face.max_yaw_deg=wide", "face.max_yaw_deg must be a number, not 'wide'"),
        ("face.max_yaw_deg=nan", "must be a number"),
        ("face.at=3", "face.at must be 2 numbers or none, not '3'"),
        ("retime.enabled=yes", "retime.enabled must be true or false"),
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
        ('[limits]\nframes = "3"\n', "must be a whole number"),
        ('[median]\nfade = ["3"]\n', "must be a list of numbers"),
        ("[median]\nalpha = inf\n", "must be a number"),
        ("[write]\ncrf = 18.5\n", "must be a whole number"),
        ("[lips]\nnetwork = 3\n", "must be text"),
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


@pytest.mark.parametrize("old", RENAMED)
def test_an_option_of_version_0_1_is_told_its_new_name(tmp_path, old):
    new, known = RENAMED[old], option_names()
    assert new in known and old not in known
    section, _, key = old.rpartition(".")
    file = tmp_path / "old.toml"
    file.write_text(f"[{section or old}]\n{key or 'frames'} = 1\n")
    ways = [lambda: load(file)] + [lambda: load(settings=[f"{section or old}.{key or 'frames'}=1"])]
    for way in ways:
        with pytest.raises(UsageError, match="since version 0.2") as caught:
            way()
        assert new in str(caught.value)


def test_a_configuration_is_a_frozen_value():
    config = replace(DubConfig(), batch=3)
    assert hash(config) == hash(DubConfig(batch=3)) and config != DubConfig()
    assert from_plain(asdict(config)) == config and config.input_limits is config.limits
    with pytest.raises(AttributeError):
        config.batch = 4


def test_limits_are_those_of_opening_files():
    assert asdict(LimitsConfig()) == asdict(InputLimits()) and isinstance(LimitsConfig(), InputLimits)


def test_reading_a_configuration_loads_no_heavy_library():
    program = "import sys, lipsync.config.load as l; l.load(); print([m for m in ('torch', 'cv2') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
