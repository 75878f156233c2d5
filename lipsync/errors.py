"""What a user can get wrong: every message is cause, place, cure in one or two sentences."""


class LipsyncError(Exception):
    """A failure with a sentence for the user. The command line prints it and exits with status 3."""

    exit_status = 3


class UsageError(LipsyncError):
    """Wrong options or configuration. Exit status 2."""

    exit_status = 2
