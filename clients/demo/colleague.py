"""A second person at a terminal of their own: a real pseudo-terminal, a typed passphrase."""

import os
import pty
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.settings import inherited

PATIENCE_S: Final = 60


class TerminalFailed(Exception):
    """The command at the terminal did not do what it should."""


def at_terminal(
    home: Path, operator: str, command: Sequence[str], typed: Sequence[tuple[str, str]]
) -> str:
    """Run ``shop COMMAND`` on a terminal, answer each prompt in turn; what was on the screen.

    ``typed`` pairs a part of a prompt with what is typed after it. Raises TerminalFailed when a
    prompt does not come or the command exits with anything but 0.
    """
    environment = inherited(
        SHOP_HOME=str(home), SHOP_OPERATOR=operator, TERM="dumb", COLUMNS="100",
        PYTHONPATH=str(Path(__file__).resolve().parents[2]),
    )  # fmt: skip
    child, terminal = pty.fork()
    if child == 0:
        arguments = [sys.executable, "-m", "clients.cli", *command]
        os.execve(sys.executable, arguments, environment)
    screen = ""
    try:
        for prompt, answer in typed:
            screen = _until(terminal, prompt, screen)
            os.write(terminal, answer.encode() + b"\n")
        screen = _until(terminal, None, screen)
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise TerminalFailed(f"shop {' '.join(command)} failed:\n{screen}")
    return screen


def _until(terminal: int, prompt: str | None, screen: str) -> str:
    """Read until the prompt shows after what was there, or, without one, until the end."""
    seen, deadline = len(screen), time.monotonic() + PATIENCE_S
    while prompt is None or prompt not in screen[seen:]:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TerminalFailed(f"waited for {prompt!r}; on the screen:\n{screen}")
        try:
            read = os.read(terminal, 4096)
        except OSError:  # the other side is gone
            read = b""
        if not read:
            if prompt is None:
                return screen
            raise TerminalFailed(f"ended before {prompt!r}; on the screen:\n{screen}")
        screen += read.decode(errors="replace")
    return screen
