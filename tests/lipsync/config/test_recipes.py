"""Every recipe of a texture is a configuration that names a method that learns and gives its options."""

import tomllib
from dataclasses import fields

import pytest

from lipsync.config.load import load
from lipsync.textures import get_method
from tests.support import ROOT

RECIPES = sorted((ROOT / "training" / "recipes").glob("texture-*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_a_configuration(path):
    config = load(path)
    section = config.texture.replace("-", "_")
    method = get_method(config.texture, config)
    assert method.config == getattr(config, section) and hasattr(method, "objectives")
    given = tomllib.loads(path.read_text())[section]
    if not path.stem.endswith("-gpu"):
        assert set(given) == {f.name for f in fields(method.config)}, "a published row's options are all written down"


def test_there_is_one_for_every_method_that_learns():
    from lipsync.config.schema import DubConfig
    from lipsync.textures import texture_names

    learned = {name for name in texture_names() if hasattr(get_method(name, DubConfig()), "objectives")}
    assert learned == {load(path).texture for path in RECIPES}
