"""A process that binds itself, for good: little memory, little time, no network and no other programs."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import platform
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lipsync.core.errors import LipsyncError, UsageError

_SPARE = (
    1.25  # what a child cannot have at all, over what ends it: some libraries wait for ever for memory that is refused
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use. memory_gib: private memory of all its threads together, GiB; seconds: of wall clock, and
        as many of every core, 0 = not limited, both; network: whether sockets may be opened; writable: folders in which
        alone files may be made, changed and removed
    (where the kernel has Landlock), None = everywhere."""

    memory_gib: float
    seconds: float
    network: bool = False
    writable: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("memory_gib", "seconds"):
            if getattr(self, name) < 0:
                raise UsageError(f"sandbox.{name} must be 0 (no limit) or more, not {getattr(self, name):g}.")


def limit_this_process(limits: Limits) -> None:
    """Binds the calling process, all its threads, and whatever it starts; there is no way back. `writable` binds only
    threads that the caller starts from now on: call this first of all.

    Memory beyond the limit raises MemoryError or ends the process; at the end of its time the process dies of SIGALRM
    or SIGXCPU (start the time anew for the next piece of work with `restart_clock`). Opening a socket or starting a
    program raises PermissionError. Raises LipsyncError where the system cannot do this."""
    if reason := why_not():
        raise LipsyncError(reason)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.memory_gib:
        # Not RLIMIT_AS: thread stacks, CUDA and mapped files reserve tens of GiB of addresses that are never memory.
        n_bytes = round(limits.memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))
    restart_clock(limits.seconds)
    _filter_system_calls(limits.network)
    if limits.writable is not None:
        _limit_writing(limits.writable)


def restart_clock(seconds: float) -> None:
    """The calling process has this much wall clock from now on, and as many seconds of every core; 0 = no limit."""
    import resource

    signal.setitimer(signal.ITIMER_REAL, seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(used.ru_utime + used.ru_stime + seconds * (os.cpu_count() or 1)) + 1 if seconds else hard
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s if hard == resource.RLIM_INFINITY else min(cpu_s, hard), hard))


def why_not() -> str | None:
    """The sentence that says why this system has no sandbox; None where it has one."""
    if sys.platform != "linux":
        return (
            f"There is no sandbox on {platform.system() or 'this system'}, only on Linux. Leave out --sandbox, or run "
            "in a virtual machine."
        )
    if platform.machine() not in _MACHINES:
        return (
            f"There is no sandbox on {platform.machine()}, only on x86_64 and aarch64. Leave out --sandbox, or run in "
            "a virtual machine."
        )
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        return (
            "This Linux kernel has no seccomp filters, so there is no sandbox. Leave out --sandbox, or use another "
            "kernel."
        )
    return None


def short_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory was refused; torch and threads say so only in words."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _REFUSED)


_REFUSED = (
    "can't allocate memory",
    "not enough memory",
    "can't start new thread",
    "bad_alloc",
    "Cannot allocate memory",
)


# Numbers of system calls, and of the architecture in a filter: <linux/audit.h>, <asm/unistd.h>.
_MACHINES = {
    "x86_64": (0xC000003E, {
        "seccomp": 317, "socket": 41, "execve": 59, "execveat": 322, "ptrace": 101,
        "process_vm_readv": 310, "process_vm_writev": 311,
        "io_uring_setup": 425, "pidfd_getfd": 438,
    }),
    "aarch64": (0xC00000B7, {
        "seccomp": 277, "socket": 198, "execve": 221, "execveat": 281, "ptrace": 117,
        "process_vm_readv": 270, "process_vm_writev": 271,
        "io_uring_setup": 425, "pidfd_getfd": 438,
    }),
}  # fmt: skip


_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


_SET_MODE_FILTER, _ALL_THREADS = 1, 1


_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF: a word; jump if so; jump if so; answer


_X32 = 0x40000000  # the same calls once more, of x86_64's 32-bit pointers


# <linux/landlock.h>
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446


_WRITE_FILE, _REMOVE_AND_MAKE, _MOVE, _TRUNCATE = 1 << 1, sum(1 << bit for bit in range(4, 13)), 1 << 13, 1 << 14


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _filter_system_calls(network: bool) -> None:
    """Refuses programs, other processes' memory and, without `network`, every socket: also those of the machine's own
    services, which would open a connection for us. Pairs of connected sockets (socketpair) remain."""
    architecture, numbers = _MACHINES[platform.machine()]
    refused = [
        n for name, n in numbers.items() if name != "seccomp" and not (network and name in ("socket", "io_uring_setup"))
    ]
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    steps += [(_AT_LEAST, len(refused) + 1, 0, _X32)]
    steps += [(_EQUAL, len(refused) - i, 0, n) for i, n in enumerate(refused)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        numbers["seccomp"], _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(_Program(len(steps), code))
    ):
        why = os.strerror(ctypes.get_errno()) if ctypes.get_errno() else "one of its threads has another filter"
        raise LipsyncError(
            f"The network could not be closed for this process ({why}). Leave out --sandbox, or allow seccomp in this "
            "container."
        )


def _limit_writing(folders: Sequence[str]) -> None:
    """Files can be made, changed and removed in these folders only; devices only where nothing is stored. Nothing where
    there is no Landlock."""
    libc = _libc()
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    change = _WRITE_FILE | (_TRUNCATE if version >= 3 else 0)
    rights = _REMOVE_AND_MAKE | change | (_MOVE if version >= 2 else 0)
    rules = libc.syscall(_CREATE_RULESET, struct.pack("Q", rights), 8, 0)
    devices = ("/dev/null", "/dev/zero", "/proc/self", *glob.glob("/dev/nvidia*"))
    for path, allowed in [*((folder, rights) for folder in folders), *((device, change) for device in devices)]:
        with contextlib.suppress(OSError):  # what is not there needs no rule
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
    failed = libc.syscall(_RESTRICT_SELF, rules, 0)
    os.close(rules)
    if failed:
        raise LipsyncError(
            "This process could not be kept from writing files. Leave out --sandbox, or allow Landlock in this "
            "container."
        )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


OUT_OF_MEMORY, OUT_OF_TIME = 77, 78  # exit statuses of a limited child
