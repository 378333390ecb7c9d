"""Hosts as network namespaces on one bridge, in a box that ends with the process that made it.

``boxed`` starts a command in a network, a process tree and a view of mounts of its own: whatever it
makes there is gone when it ends, even by ``kill -9``, and nothing of the machine is touched.
"""

import ctypes
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Final

BRIDGE: Final = "shop0"
NAMES: Final = Path("/run/netns")
ADDRESSES: Final = {
    "a": "10.77.0.11", "b": "10.77.0.12", "proxy": "10.77.0.20",
    "one": "10.77.0.31", "two": "10.77.0.32",
}  # fmt: skip
"""Two application hosts, the proxy, two databases."""
OWN: Final = "10.77.0.1"
MOST_CALLERS: Final = 50
MOST_TRIES: Final = 10
NOBODYS: Final = 1  # a port that answers with a refusal, which is an answer
_NEEDED: Final = ("unshare", "nsenter", "setpriv", "ip", "nginx")
_BOX: Final = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_CLONE_NEWNET: Final = 0x40000000


class Impossible(Exception):
    """Hosts cannot be made here; the message says why."""


def boxed(command: Sequence[str]) -> list[str]:
    """The command as process 1 of a box. Raises Impossible."""
    if sys.platform != "linux" or os.getuid() != 0:
        raise Impossible("several hosts on one machine need Linux and root")
    if missing := [name for name in _NEEDED if not found(name)]:
        raise Impossible(f"not installed: {', '.join(missing)} (util-linux, iproute2, nginx)")
    probe = "ip link add shop0 type bridge && mount -t tmpfs none /mnt"
    tried = subprocess.run(
        [found("unshare"), *_BOX, "sh", "-c", probe],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        raise Impossible(f"no namespaces here: {tried.stderr.strip()}")
    # The box ends with whoever starts it, however that ends.
    return [found("setpriv"), "--pdeathsig", "KILL", found("unshare"), *_BOX, *command]


def found(name: str) -> str:
    """The path of a program, or nothing."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""


class Network:
    """The bridge and its hosts. Only in a box; the box takes it away."""

    def __init__(self) -> None:
        if os.getpid() != 1:
            raise Impossible("a network is made only by process 1 of a box")
        NAMES.mkdir(exist_ok=True)
        _do("mount", "-t", "tmpfs", "none", str(NAMES))
        _ip("link", "set", "lo", "up")
        _ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        _ip("link", "set", BRIDGE, "up")
        _ip("addr", "add", f"{OWN}/24", "dev", BRIDGE)
        for number in range(MOST_CALLERS):
            _ip("addr", "add", f"{caller_address(number)}/24", "dev", BRIDGE)
        for name, address in ADDRESSES.items():
            _ip("netns", "add", name)
            _ip("link", "add", _port(name), "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", _port(name), "master", BRIDGE, "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")

    def cut(self, name: str) -> None:
        """Pull the cable: nothing goes in or out, and nobody is told."""
        _ip("link", "set", _port(name), "down")

    def mend(self, name: str) -> None:
        """Plug it in again, and wait until both ends have noticed. Raises RuntimeError."""
        _ip("link", "set", _port(name), "up")
        for _ in range(MOST_TRIES):
            _ip("-n", name, "neigh", "flush", "dev", "eth0")
            _ip("neigh", "flush", "to", ADDRESSES[name])
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((ADDRESSES[name], NOBODYS)) == errno.ECONNREFUSED:
                    return
        raise RuntimeError(f"{name} cannot be reached again")

    def start(
        self, name: str, command: Sequence[str], *, as_nobody: bool = False, **how: Any
    ) -> subprocess.Popen[bytes]:
        """A process on a host."""
        whole = [*_into(name, as_nobody), *command]
        return subprocess.Popen(whole, stdin=subprocess.DEVNULL, **how)

    def run(self, name: str, command: Sequence[str], *, as_nobody: bool = False) -> str:
        """A command on a host, to its end; what it says. Raises RuntimeError."""
        return _do(*_into(name, as_nobody), *command)

    def listening(self, name: str, address: tuple[str, int]) -> socket.socket:
        """A listening socket on a host, to be served by a thread of this process."""
        made: list[socket.socket] = []

        def make() -> None:
            # Only this thread changes over, and a socket stays where it was made.
            with (NAMES / name).open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server(address))

        thread = Thread(target=make)
        thread.start()
        thread.join()
        return made[0]


def caller_address(number: int) -> str:
    """Where a caller comes from: each has an address of its own, as people do."""
    return f"10.77.0.{100 + number}"


def _port(name: str) -> str:
    return f"port-{name}"


def _into(name: str, as_nobody: bool) -> list[str]:
    less = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    enter = [found("nsenter"), f"--net={NAMES / name}"]
    return [*enter, found("setpriv"), *less] if as_nobody else enter


def _ip(*arguments: str) -> None:
    _do(found("ip"), *arguments)


def _do(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-1_500:]}")
    return done.stdout
