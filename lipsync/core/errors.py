"""What a user can get wrong: every message is cause, place, cure in one or two sentences."""

from lipsync.core.installation import cure_for_import
from media import MediaError


class LipsyncError(Exception):
    """A failure with a sentence for the user. The command line prints it and exits with status 3."""

    exit_status = 3


class UsageError(LipsyncError):
    """Wrong options or configuration. Exit status 2."""

    exit_status = 2


def user_message(error: BaseException) -> tuple[str | None, int]:
    """What to tell the user of a failure, and the exit status; (None, 1) = a fault of ours, to be seen in full."""
    if isinstance(error, LipsyncError):
        return str(error), error.exit_status
    if isinstance(error, MediaError):
        return str(error), LipsyncError.exit_status
    if isinstance(error, ImportError):
        return cure_for_import(error), LipsyncError.exit_status
    if isinstance(error, MemoryError):
        name = getattr(error, "filename", None)
        of = f" for {name}" if name else ""
        return (
            f"There is not enough memory{of}; a damaged file may ask for too much. Free some memory, or copy the file "
            "again.",
            LipsyncError.exit_status,
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}.", LipsyncError.exit_status
    return None, 1
