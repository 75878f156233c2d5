"""Sound to numbers and back; knows nothing of faces or frames."""


class AudioError(Exception):
    """Sound that cannot be used. The message names the cause, the file and the cure."""
