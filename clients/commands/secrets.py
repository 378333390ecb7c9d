"""Secrets are typed at the terminal itself."""

import getpass
import os
import sys

from common.errors import NotAuthenticated


def ask_passphrase(prompt: str) -> str:
    """Read a passphrase from the controlling terminal, without echo.

    Raises NotAuthenticated where there is no terminal: standard input is not good enough, because
    a program that runs commands for an agent could feed it.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        if sys.platform == "win32" and sys.stdin.isatty():
            return getpass.getpass(prompt)
        raise NotAuthenticated(
            "There is no terminal to type a passphrase at.",
            next="Run this command yourself in a terminal window.",
        ) from None
    os.close(terminal)
    return getpass.getpass(prompt)
