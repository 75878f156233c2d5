"""Texture methods, one file each. `get_method(name, config)` finds one."""

from lipsync.core.texture import TextureMethod
from lipsync.textures.registry import get_method, texture_names

__all__ = ["TextureMethod", "get_method", "texture_names"]
