"""What can be decoded of a track, whatever is damaged in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def decoded(container: Any, stream: Any, *, flush_damaged: bool = False) -> Iterator[Any]:
    """Every frame of an open PyAV container's track from here to the end; None in place of what is damaged.

    flush_damaged: where the file itself breaks off, what the decoder still holds is given, too. MemoryError is no
    damage, and is raised: frames would be missing."""
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        broken = False
        try:
            packet = next(packets)
        except MemoryError:
            raise
        except StopIteration:  # its last packet has emptied the decoder
            return
        except (FFmpegError, OSError):
            yield None
            if not flush_damaged:
                return
            packet, broken = None, True
        try:
            yield from stream.decode(packet)
        except MemoryError:
            raise
        except FFmpegError:
            yield None
        if broken:
            return
