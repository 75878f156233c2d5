"""espeak-ng as a program that keeps no state: one request a line in, phones and sound out.

The library remembers the previous sentence (its noise, its echo, the voice), so each sentence is synthesised by a fresh
copy of a process in which it has only been loaded. Run as a script by `training.tts`; needs nothing but the standard
library."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _DONT_EXIT = 2, 1, 2, 0x8000
_UTF8, _RATE, _PITCH, _PHONEME = 1, 1, 3, 7
WORDS_PER_MINUTE = 170


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int) for name in ("type", "identifier", "text_position", "length", "audio_position", "sample")
    ]
    _fields_ += [("user_data", ctypes.c_void_p), ("id", _Id)]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def synthesize(
    library: ctypes.CDLL, text: str, voice: str, words_per_minute: int, pitch: int
) -> tuple[list[tuple[str, int]], bytes]:
    """IPA symbol ("" = silence) and first sample of each sound, and 16-bit samples. ValueError: there is no such
    voice."""
    if library.espeak_SetVoiceByName(voice.encode()):
        raise ValueError(voice)
    library.espeak_SetParameter(_RATE, words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    sound: list[bytes] = []
    events: list[tuple[str, int]] = []

    def receive(samples, n, received) -> int:
        if samples and n > 0:
            sound.append(ctypes.string_at(samples, 2 * n))
        i = 0
        while received[i].type:
            if received[i].type == _PHONEME:
                symbol = ctypes.string_at(ctypes.addressof(received[i].id), 8).split(b"\0")[0]
                events.append((symbol.decode("utf-8", "ignore"), received[i].sample))
            i += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    letters = text.encode()
    library.espeak_Synth(letters, ctypes.c_size_t(len(letters) + 1), 0, 1, 0, _UTF8, None, None)
    return events, b"".join(sound)


def _answer(library, request: dict, out: int) -> None:
    """Writes lengths, a JSON head and the samples to the pipe `out`."""
    try:
        events, sound = synthesize(library, **request)
        head = {"events": events}
    except ValueError:
        head, sound = {"missing": request["voice"]}, b""
    text = json.dumps(head).encode()
    with os.fdopen(out, "wb", closefd=False) as pipe:
        pipe.write(struct.pack("<II", len(text), len(sound)) + text + sound)


def main() -> None:
    """Answers requests until there are no more; the first line out is the sample rate, 0 where the library is
    missing."""
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        os.write(1, b"0\n")
        return
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS | _IPA | _DONT_EXIT)
    os.write(1, f"{max(rate, 0)}\n".encode())
    if rate <= 0:
        return
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            _answer(library, json.loads(line), 1)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
