"""Where the files of a test run go: into memory, where there is room.

Making a database is copying a few hundred files, and every commit waits for its disk: in memory a
test database takes a twentieth of the time. What a test kills are processes, never the machine, so
nothing that is proven depends on a disk. ``make faults`` and the benchmarks stay on the disk.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 4 * 2**30
_NO_PROGRAMS: Final = getattr(os, "ST_NOEXEC", 0)


def prefer_memory() -> None:
    """For this process and those it starts; whoever has set TMPDIR has chosen already."""
    if "TMPDIR" in os.environ or not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK | os.X_OK):
        return
    there = os.statvfs(_MEMORY)
    if there.f_bavail * there.f_frsize < _ROOM or there.f_flag & _NO_PROGRAMS:
        return  # PostgreSQL's programs are copied there, too
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
