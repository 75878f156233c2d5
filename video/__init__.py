"""Pixels to files and back; knows nothing of faces or speech."""


class VideoError(Exception):
    """A video that cannot be read or written. The message names the cause, the file and the cure."""
