"""Texture methods, one file each. `get_method(name, config)` finds one."""

from lipsync.textures.base import TextureMethod, get_method, method_names

__all__ = ["TextureMethod", "get_method", "method_names"]
