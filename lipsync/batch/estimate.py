"""How long a job will take and how much room it needs, about: from pixels and frames, before any work, set right by the
receipts of finished jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lipsync.config.schema import DubConfig
from lipsync.core.segments import is_about_as_long
from lipsync.pipelines.estimate import draw_s, follow_s, learn_lips_s
from lipsync.store.receipt import Receipt
from video.codecs import encoder_of

#: CPU seconds per job.
OPEN_S = 1.0
#: Bits per pixel of a picture at crf 12, as a multiple of the target's, within limits; 6 more crf halve them. The same
#: three: up to 40 % off.
BITS_LIKE, LEAST_BITS, MOST_BITS = 1.1, 0.1, 0.8
#: Of codecs that know no crf; and of the others as a share of libx264's.
BITS_OF = {"prores_ks": 3.5, "ffv1": 9.0}
SHARE_OF = {"libx265": 0.7, "libsvtav1": 0.6, "hevc_nvenc": 0.9, "libvpx-vp9": 0.9}
SOUND_BYTES_S = 24_000  # per second of speech
#: Receipts that are read to learn from.
MOST_RECEIPTS = 30


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What matters here of a target or of footage. rate: frames a second, the usual one where it varies; bits: per
    pixel, sound and all; length_s: 0 = as `frames` last at `rate`; has_audio: it has a sound track."""

    width: int
    height: int
    frames: int
    rate: float
    bits: float
    length_s: float = 0.0
    has_audio: bool = False

    @property
    def duration_s(self) -> float:
        return self.length_s or self.frames / self.rate

    @property
    def mpx(self) -> float:
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class Scale:
    """How finished jobs of this batch compare with the plain estimate: factors of time and room."""

    seconds: float = 1.0
    n_bytes: float = 1.0


def keeps_time(video: VideoFacts, speech_s: float, config: DubConfig) -> bool:
    """Whether the output has the target's own frames and length."""
    retime = config.retime
    if retime.length == "target":
        return True
    about = is_about_as_long(speech_s, video.duration_s)
    return retime.length == "auto" and (retime.timeline == "keep" or (retime.timeline == "auto" and about))


def rows_of(video: VideoFacts, speech_s: float, config: DubConfig) -> int:
    """Frames of the output."""
    if keeps_time(video, speech_s, config):
        return video.frames
    n = max(1, round(speech_s * video.rate))
    return min(n, video.frames) if config.retime.length == "cut" else n


def seconds_of(video: VideoFacts, rows: int, speech_s: float, config: DubConfig) -> float:
    """How long an output of so many rows lasts."""
    return video.duration_s if keeps_time(video, speech_s, config) else rows / video.rate


def output_bytes(video: VideoFacts, rows: int, config: DubConfig) -> float:
    """Of the video and its receipt."""
    write, encoder = config.write, encoder_of(config.write.codec, ".mp4")
    like = min(max(BITS_LIKE * video.bits, LEAST_BITS), MOST_BITS) * SHARE_OF.get(encoder, 1.0)
    bits = BITS_OF.get(encoder) or like * 2 ** ((12 - write.crf) / 6)
    return rows * (video.mpx * 1e6 * bits / 8 + 16) + rows / video.rate * SOUND_BYTES_S + 8192


def draw_seconds(video: VideoFacts, rows: int) -> float:
    return draw_s(rows, video.mpx)


def follow_seconds(videos: Sequence[VideoFacts], config: DubConfig) -> float:
    """Of a target and its footage, before their first job."""
    learn_s = learn_lips_s(sum(video.duration_s for video in videos), config.lips)
    return learn_s + sum(follow_s(video.frames, video.mpx) for video in videos)


def kept_bytes(videos: Sequence[VideoFacts], eyes_px: float, config: DubConfig) -> float:
    """What the analyses of a target and its footage take in the cache. eyes_px: eye distance in the target; 0 = not
    known."""
    from lipsync.core.geometry import mouth_space

    most = config.analysis.max_bank_gib * 2**30
    if not eyes_px:
        return most
    space = mouth_space(eyes_px * config.analysis.crop_scale)
    return min(
        most, 3 * space.width * space.height * min(config.analysis.max_mouths, sum(video.frames for video in videos))
    )


def scale_from(receipts: Iterable[tuple[Path, VideoFacts, DubConfig]]) -> Scale:
    """From finished jobs: (receipt, target, configuration); what cannot be read is left out."""
    seconds, sizes = [], []
    for path, video, config in receipts:
        receipt = Receipt.read(path)
        if receipt is None or "dub" not in receipt.seconds or receipt.output.frames < 1:
            continue
        rows = receipt.output.frames
        seconds.append(receipt.seconds["dub"] / draw_seconds(video, rows))
        sizes.append(receipt.output.bytes / output_bytes(video, rows, config))
    return Scale(median(seconds), median(sizes)) if seconds else Scale()
