"""Answers a host while there is no real server yet.

A host asks every server the same things first: ``initialize`` or ``server/discover``, and lists.
What the real server said to them is kept, for as long as neither our code nor any package changes,
and the next start says it at once: a thread reads the host's lines, answers those that are beyond
doubt, and keeps the others for the real server. Nothing but the standard library is imported here.

The real server is loaded when the host asks anything else. A desktop host starts seven servers and
calls two: the others stay a tenth of their size. One of them is loaded without being asked, so that
the shop's own work (common.election) is done while any of them runs.
"""

import json
import os
import select
import stat
import sys
import threading
from pathlib import Path
from typing import IO, Any, Final

from common import strict_json

if sys.platform != "win32":
    import fcntl

NEW_ERA: Final = "2026-07-28"
CHUNK: Final = 65_536
MOST_WAITING: Final = 4 * 2**20  # bytes kept for the real server; more stays in the pipe
MOST_ASKED: Final = 64
EVERY_S: Final = 3.0
AWAKE: Final = "awake.lock"
LEARNT: Final = frozenset({
    "initialize", "server/discover", "tools/list", "resources/list", "resources/templates/list",
    "prompts/list",
})  # fmt: skip
_OF_THE_PROTOCOL: Final = "io.modelcontextprotocol/"
_ROOT: Final = Path(__file__).resolve().parent.parent

Answers = dict[str, dict[str, str]]
"""By protocol version, then by method: a result as JSON text."""


class Front:
    """Owns the two ends of the host's pipe until the real server takes them over."""

    def __init__(self, domain: str, folder: Path) -> None:
        self._file = folder / f"opening-{domain}.json"
        self._stamp = _stamp()
        self._answers: Answers = _kept(self._file, self._stamp)
        self._version = ""
        self._buffer = b""
        self._waiting: list[bytes] = []
        self._swallowed: set[str] = set()
        self._asked: dict[str, tuple[str, str]] = {}
        self._folder = folder
        self._awake: IO[bytes] | None = None
        self._over = False
        self._needed = threading.Event()
        if not self._answers:
            self._needed.set()
        self._thread = threading.Thread(target=self._work, name="front", daemon=True)
        self.source, self.sink = _claimed()
        self._wake, self._waker = os.pipe()
        self._thread.start()

    def needed(self, *, leads: bool) -> bool:
        """Wait until the real server is needed: the host asks what only it can answer, or it may
        lead and no other of this folder is awake. False when the host closed its pipe before."""
        while not self._needed.is_set() and not (leads and self._first()):
            self._needed.wait(EVERY_S)
        return not self._over

    def _first(self) -> bool:
        try:
            self._awake = (self._folder / AWAKE).open("ab")  # as long as this process lives
            fcntl.flock(self._awake, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # no folder, or no locks in it
        return True

    def stop(self) -> bytes:
        """Stop reading. What was read and not answered, for the real server to begin with."""
        os.write(self._waker, b"x")
        self._thread.join()
        os.close(self._wake)
        os.close(self._waker)
        return b"".join(self._waiting) + self._buffer

    def heard(self, line: str) -> None:
        """A line that the real server is given: is it a question whose answer is worth keeping?"""
        if len(self._asked) >= MOST_ASKED or len(line) > CHUNK:
            return
        message = _read(line.encode())
        if isinstance(message, dict) and type(message.get("id")) in (int, str):
            version, method = self._question(message)
            if version and method not in self._answers.get(version, {}):
                self._asked[json.dumps(message["id"])] = (version, method)

    def said(self, text: str) -> bool:
        """A line that the real server says. Whether the host was told already."""
        if not self._asked and not self._swallowed:
            return False
        message = json.loads(text)
        id = json.dumps(message.get("id"))
        if "method" in message:
            return False
        if id in self._swallowed:
            self._swallowed.discard(id)
            return True
        if id in self._asked:
            version, method = self._asked.pop(id)
            if isinstance(message.get("result"), dict):
                self._keep(version, method, message["result"])
        return False

    def _work(self) -> None:
        waiting = 0
        while waiting <= MOST_WAITING:
            ready, _, _ = select.select([self.source, self._wake], [], [])
            if self._wake in ready:
                return
            chunk = os.read(self.source, CHUNK)
            if not chunk:  # the real server, if there is one, finds the end of the pipe by itself
                self._over = not self._needed.is_set()
                self._needed.set()
                return
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            for line in lines:
                if not self._answer(line):
                    self._waiting.append(line + b"\n")
            waiting = sum(map(len, self._waiting)) + len(self._buffer)
        self._needed.set()

    def _answer(self, line: bytes) -> bool:
        """Whether the host has its answer, and the real server need not see the line."""
        message = _read(line)
        if isinstance(message, dict) and "id" not in message:
            return False  # a notification, which nobody waits for
        whole = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
        if not whole or type(message["id"]) not in (int, str):
            self._needed.set()
            return False
        version, method = self._question(message)
        result = self._answers.get(version, {}).get(method)
        if result is None:
            self._needed.set()
            return False
        id = json.dumps(message["id"])
        _write(self.sink, f'{{"jsonrpc":"2.0","id":{id},"result":{result}}}\n'.encode())
        if method == "initialize":
            self._swallowed.add(id)
        return method != "initialize"

    def _question(self, message: dict[str, Any]) -> tuple[str, str]:
        """The protocol version and the method of a question that is always answered the same;
        no version for any other."""
        method, params = message.get("method"), message.get("params", {})
        if method not in LEARNT or not isinstance(params, dict):
            return "", ""
        if method == "initialize":
            version = params.get("protocolVersion")
            whole = _described(params.get("clientInfo"), params.get("capabilities"))
            # A session is of an older version than the one without sessions.
            fine = whole and isinstance(version, str) and version != NEW_ERA
            self._version = str(version) if fine else ""
            return self._version, method
        meta = params.get("_meta", {})
        if set(params) - {"_meta"} or not isinstance(meta, dict):
            return "", ""
        if type(meta.get("progressToken", 0)) not in (int, str):
            return "", ""
        said = {
            name.removeprefix(_OF_THE_PROTOCOL): value
            for name, value in meta.items()
            if name.startswith(_OF_THE_PROTOCOL)
        }
        if not said:
            return self._version, method
        named = said.pop("protocolVersion", "")
        whole = _described(said.pop("clientInfo", None), said.pop("clientCapabilities", None))
        return (NEW_ERA if whole and named == NEW_ERA and not said else ""), method

    def _keep(self, version: str, method: str, result: dict[str, Any]) -> None:
        text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        self._answers.setdefault(version, {})[method] = text
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"stamp": self._stamp, "answers": self._answers}, file)
            draft.replace(self._file)
        except OSError:
            return  # a folder that cannot be written costs the next start its head start


def _described(client: Any, capabilities: Any) -> bool:
    """Whether the client says who it is and what it can, in the form that the real server takes."""
    if not isinstance(client, dict) or not isinstance(capabilities, dict):
        return False
    return isinstance(client.get("name"), str) and isinstance(client.get("version"), str)


def _read(line: bytes) -> Any:
    """What a line says; None for what cannot be read one way only."""
    try:
        return strict_json.read(line.decode())
    except (ValueError, RecursionError):
        return None


def usable() -> bool:
    """Whether input and output are what can be watched: pipes, sockets or terminals."""
    kinds = [os.fstat(descriptor).st_mode for descriptor in (0, 1)]
    known = all(stat.S_ISFIFO(k) or stat.S_ISSOCK(k) or stat.S_ISCHR(k) for k in kinds)
    return known and sys.platform != "win32"


def _kept(file: Path, stamp: list[Any]) -> Answers:
    try:
        found = json.loads(file.read_bytes())
        return dict(found["answers"]) if found["stamp"] == stamp else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _stamp() -> list[Any]:
    """What changes when anything does that decides what a server says first: our own files, and
    what is installed beside them."""
    files = []
    for folder in ("common", "servers"):
        for place, inner, names in os.walk(_ROOT / folder):
            inner[:] = [name for name in inner if name != "__pycache__"]
            for file in (os.path.join(place, name) for name in names if name[0] != "."):
                found = os.stat(file)
                files.append([file, found.st_mtime_ns, found.st_size])
    packages = [
        [path, os.stat(path).st_mtime_ns]  # a folder changes when any version in it does
        for path in sys.path
        if path.endswith("-packages") and os.path.isdir(path)
    ]
    return [sys.version, str(_ROOT), packages, sorted(files)]


def _claimed() -> tuple[int, int]:
    """The host's pipes on descriptors of our own: whatever else in this process reads finds
    nothing, and whatever prints lands on stderr."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink


def _write(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]
