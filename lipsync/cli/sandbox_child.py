"""The command line inside a limited process."""

from __future__ import annotations


def child() -> None:
    """What `lipsync.sandbox.supervise.run_sandboxed` starts."""
    from lipsync.sandbox.supervise import run_limited

    run_limited(_command)


def _command() -> None:
    from lipsync.cli.app import main

    main()
