"""A lock on a file, for the processes of one machine: the system ends it with whoever holds it."""

import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PAST_ALL = 2**40  # where Windows locks a byte that nobody reads or writes


def take(handle: IO[bytes]) -> bool:
    """Whether it was free, and is this handle's from now on. Waits for nobody."""
    try:
        if sys.platform == "win32":
            handle.seek(_PAST_ALL)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def give_back(handle: IO[bytes]) -> None:
    """Let the next one have it; closing the handle does the same."""
    if sys.platform == "win32":
        handle.seek(_PAST_ALL)
        msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_UN)
