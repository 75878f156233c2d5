"""The pixel format of an output: the target's, or the nearest that the encoder has, and what the encoder is told of the
picture."""

from __future__ import annotations

import re

import av
from av.codec.codec import PixFmtLoss, find_best_pix_fmt_of_list

from video.hdr import encoder_options, hdr_losses
from video.probe import VideoStream

#: What can be drawn into: planar YUV of any depth, with or without alpha, and the RGB of a lossless encoder.
_YUV, _RGB = re.compile(r"yuva?4\d\dp(\d+le)?"), re.compile(r"gbra?p(\d+le)?|bgr0|bgra")
#: These keep RGB targets as finely as they come; of the others most players want half the colour resolution.
_MASTERS = ("prores_ks", "ffv1")
_LOST = {
    PixFmtLoss.DEPTH: "its depth",
    PixFmtLoss.RESOLUTION: "its colour resolution",
    PixFmtLoss.ALPHA: "its transparency",
}
#: Files that say how their pictures are to be turned.
_TURNING = (".mp4", ".mov", ".m4v", ".mkv", ".webm")


def writable_formats(encoder: str) -> list[str]:
    """The pixel formats of an encoder that can be drawn into, as FFmpeg names them."""
    names = [one.name for one in av.Codec(encoder, "w").video_formats or []]
    alpha = encoder in (*_MASTERS, "libvpx-vp9")  # others write it in ways that few players know
    return [
        name
        for name in names
        if (_YUV.fullmatch(name) and (alpha or not name.startswith("yuva")))
        or (_RGB.fullmatch(name) and encoder == "ffv1")
    ]


def best_format(source: str, encoder: str, odd: bool) -> str:
    """The encoder's pixel format that holds most of `source`. odd: the size has an odd side, and the encoder cannot
    halve that."""
    source = source.replace("yuvj", "yuv")  # the range is a tag of its own
    is_rgb = av.VideoFormat(source).is_rgb
    choice = [name for name in writable_formats(encoder) if is_rgb or not _RGB.fullmatch(name)]
    if odd:
        choice = [name for name in choice if re.match("yuva?444p", name)] or choice
    elif is_rgb and encoder not in _MASTERS:
        choice = [name for name in choice if name.startswith("yuv420p")] or choice
    best, _ = find_best_pix_fmt_of_list(choice, source, has_alpha(source))
    return source if best is None else best.name


def format_notes(like: VideoStream, encoder: str, pix_fmt: str) -> list[str]:
    """What of the target's picture an output in this pixel format loses, and who may not play it."""
    loss = _lost(like, pix_fmt)
    lost = [word for kind, word in _LOST.items() if loss & kind]
    notes = hdr_losses(encoder, like.hdr)
    if lost:
        bands = " (HDR may band)" if like.colour.high_dynamic_range and loss & PixFmtLoss.DEPTH else ""
        notes.append(
            f"written as {pix_fmt}: less than the target's {like.pix_fmt} in {' and '.join(lost)}{bands}; "
            f"--set write.codec={_keeper(like)} keeps all"
        )
    elif encoder == "libx264" and pix_fmt != "yuv420p":
        notes.append(
            f"written as {pix_fmt}, as the target; players that only know yuv420p need --set write.pix_fmt=yuv420p"
        )
    return notes


def _keeper(like: VideoStream) -> str:
    """An encoder that loses nothing of the target's picture, and the file for it."""
    for encoder, where in (("libx265", ""), ("prores_ks", " with .mov"), ("ffv1", " with .mkv")):
        written = best_format(like.pix_fmt, encoder, False)
        if encoder in av.codecs_available and not _lost(like, written):
            return encoder + where
    return "ffv1 with .mkv"


def _lost(like: VideoStream, pix_fmt: str) -> PixFmtLoss:
    _, loss = find_best_pix_fmt_of_list([pix_fmt], like.pix_fmt.replace("yuvj", "yuv"), like.transparent)
    return PixFmtLoss(loss & (PixFmtLoss.DEPTH | PixFmtLoss.RESOLUTION | PixFmtLoss.ALPHA))


def has_alpha(pix_fmt: str) -> bool:
    return any(part.is_alpha for part in av.VideoFormat(pix_fmt).components)


def picture_options(encoder: str, pix_fmt: str, like: VideoStream | None) -> dict[str, str]:
    """Options of FFmpeg's encoder that go with the pixel format and with the target's picture. Those that end in
    "-params" are to be joined to others of that name."""
    options = {}
    if encoder == "prores_ks" and "444" in pix_fmt:
        options["profile"] = "4"
    if encoder == "libvpx-vp9" and has_alpha(pix_fmt):
        options["auto-alt-ref"] = "0"
    if like is not None:
        options |= encoder_options(encoder, like.hdr)
        if "420" in pix_fmt:
            options["chroma_sample_location"] = like.siting
    return options


def keeps_turned(like: VideoStream | None, suffix: str) -> bool:
    """Whether the output is written as the target is stored, with the same order to players to turn it."""
    return like is not None and any(like.orientation) and like.matrix is not None and suffix in _TURNING
