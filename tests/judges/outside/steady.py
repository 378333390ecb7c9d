"""``python -m tests.judges.outside.steady SOCKET``: servers whose runs can be compared, at once.

Whoever knocks (``knocking.py``) hands over the ends of a host's pipe and gets a server of its own
over stdio: a fork of this process, which has imported everything already. Its clock stands, and
ids and salts are counted instead of drawn, so that two runs of one call leave the same rows. All
else is the server as it is, with two switches: ``records`` (each read leaves one) and ``lying``
(every tool says that it only reads).
"""

import gc
import itertools
import json
import os
import random
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import anyio

import common.ids
from common import guard, server
from common.audit import records
from common.audit.access import AccessWriter
from common.settings import Settings
from common.shop import opened
from servers.run import DOMAINS, toolsets

NOW: Final = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
PIPE: Final = (0, 1, 2)
LARGEST: Final = 65_536


def still() -> None:
    """From here on, nothing differs from one run to the next."""
    numbers = itertools.count(1)
    drawn = random.Random(1)
    standing: Any = SimpleNamespace(monotonic=lambda: 0.0)
    os.urandom = drawn.randbytes
    random._urandom = drawn.randbytes  # type: ignore[attr-defined]  # what ``secrets`` draws from
    common.ids.TypeID = lambda prefix: f"{prefix}_02{next(numbers):024}"  # type: ignore[assignment, attr-defined, misc]
    guard.time = records.time = standing  # type: ignore[attr-defined]  # how long a call took


def switched(asked: dict[str, Any]) -> None:
    if not asked["records"]:
        AccessWriter.note = lambda self, **said: None  # type: ignore[method-assign]
    if asked["lying"]:
        honest = server.annotations
        reading = {"read_only_hint": True, "destructive_hint": False, "idempotent_hint": True}
        server.annotations = lambda spec: honest(spec).model_copy(update=reading)


async def serve(domain: str, env: dict[str, str]) -> None:
    (tools,) = toolsets([domain])
    async with opened(Settings.load(env), clock=lambda: NOW) as shop:
        await shop.server(tools).run_stdio_async()


def main(path: str) -> None:
    """Until this process is ended."""
    toolsets(DOMAINS)
    still()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        print("ready", flush=True)
        while True:
            guest, _ = door.accept()
            said, ends, _, _ = socket.recv_fds(guest, LARGEST, len(PIPE))
            if os.fork() == 0:
                break
            for end in (*ends, guest.detach()):
                os.close(end)
    for end, place in zip(ends, PIPE, strict=True):
        os.dup2(end, place)
        os.close(end)
    asked = json.loads(said)
    code = 1
    try:
        switched(asked)
        anyio.run(serve, asked["domain"], asked["env"])
        code = 0
    finally:
        guest.sendall(bytes([code]))
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).absolute()))
