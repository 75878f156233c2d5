"""Media files: opening what a stranger may have made, the limits of what is opened, and writing whole files or none."""


class MediaError(Exception):
    """Sound or pictures that cannot be read or written. The message names the cause, the file as it was given, and the
    cure."""
