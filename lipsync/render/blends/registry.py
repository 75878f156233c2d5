"""Blending methods, found by name."""

from __future__ import annotations

import importlib

import torch

from lipsync.config.schema import CompositeConfig
from lipsync.render.blends.base import BlendMethod


def get_blend(config: CompositeConfig, device: torch.device) -> BlendMethod:
    """The method `config.blend`, ready on the device."""
    return importlib.import_module(f"lipsync.render.blends.{config.blend}").Blend(config, device)
