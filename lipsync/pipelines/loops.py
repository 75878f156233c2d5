"""The loops of a dub, compiled before they are needed: numba takes twenty seconds for them, once for each installation
(and for the cache of a sandbox, which keeps its own)."""

from __future__ import annotations

from importlib import import_module

#: What the loops are called with: module, name, types of arguments as numba writes them.
LOOPS = (
    ("lipsync.face.held", "compare", "u1[:,::1], f4[:,::1], f4[:,::1], u1[:,:], f4[:,:], f4[:,:], u1[:,:], u1[:,:], "
     "u1[:,:], i4[:,:], i4[:,:], f4[:,:], f4[:,:], f4[:,:], i8, f4, f4, u1[:,::1], b1[:,::1], b1[:,::1], b1[:,::1]"),
    ("lipsync.face.held", "renew", "u1[:,::1], f4[:,::1], f4[:,::1], u1[:,::1], b1[:,::1], u1[:,::1], b1[:,::1], "
     "b1[:,::1], b1[:,::1], u1[:,:], f4[:,:], f4[:,:], u1[:,:], b1[:,:], u1[:,:], u1[:,:], i4[:,:], i4[:,:], f4[:,:], "
     "f4[:,:], f4[:,:], i8, f4, f4"),
    ("lipsync.render.cpu.fields", "_fill", "f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,:,::1], i8[::1], f8[:,::1], "
     "f8[:,::1], f4[:,::1], f4[::1]"),
    ("lipsync.render.cpu.grid", "mix", "f4[:,:,:], f4[:,:,::1], f4[:,::1]"),
    ("lipsync.render.cpu.grid", "means", "f4[:,:,::1], i8"),
    ("lipsync.render.cpu.grid", "fine", "f4[:,:,::1], i8, i8"),
    ("lipsync.render.cpu.skin", "skin_likeness", "f4[:,:,::1], f4[:,::1]"),
    ("lipsync.render.cpu.skin", "_colour_sums", "f4[:,:,::1], f4[:,::1], f8[:,::1], f8[:,::1]"),
    ("lipsync.render.cpu.bend", "moved", "f4[:,:,::1], f4[:,:,::1], f4[:]"),
    ("lipsync.render.cpu.bend", "_cover", "f4[:,:,::1], f4[:,:,::1], i8, i8, f4[:,:,::1], f4[:,::1], f4[:], f4[:,::1]"),
    ("lipsync.render.cpu.mouth", "_bicubic", "f4[:,:,::1], f4[:,:,::1]"),
    ("lipsync.render.cpu.mouth", "alpha_at", "f4[:,::1], f4[:,:,::1]"),
    ("lipsync.render.cpu.mouth", "_lit", "f4[:,:,::1], f4[:,:,::1], f4[:,:,::1]"),
    ("lipsync.render.cpu.mouth", "_add_grain", "f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4"),
    ("lipsync.render.cpu.sharpness", "_edges", "f4[:,::1], f4[:,::1]"),
    ("lipsync.textures.warped_median", "_pack", "u1[:,:,::1], i8[::1], u8[:,::1]"),
    ("lipsync.textures.warped_median", "_medians", "u8[:,::1], i8[:,::1], f4[:,:,:,:,::1], u2[:,::1], u2[::1], f4, "
     "u1[:,:,::1], u1[:,:,:,::1]"),
    ("lipsync.textures.detail", "_with_detail", "u1[:,:,::1], u8[:,::1], i8[::1], f8[::1], UniTuple(i8, 4), f8, "
     "f8, f4[:,:,::1]"),
)  # fmt: skip


def compile_all() -> None:
    """What is kept on disk already is only read."""
    for module, name, types in LOOPS:
        getattr(import_module(module), name).compile(arguments_of(types))


def arguments_of(types: str) -> tuple:
    """As numba's own types."""
    from numba.core.sigutils import normalize_signature

    return normalize_signature(f"({types})")[0]
