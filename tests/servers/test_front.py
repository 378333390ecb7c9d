"""What a server says before the SDK is there is what it would have said anyway, once."""

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.settings import inherited
from servers import front

ROOT = Path(__file__).resolve().parent.parent.parent
NEW = "2026-07-28"
pytestmark = pytest.mark.slow
LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")


class Host:
    """Lines in, lines out: nothing between this and the server."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def send(self, *messages: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        text = "".join(json.dumps({"jsonrpc": "2.0", **m}) + "\n" for m in messages)
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, id: int, method: str, **params: Any) -> dict[str, Any]:
        self.send({"id": id, "method": method, "params": params})
        answer = self.read()
        assert answer["id"] == id, answer
        return answer


@contextmanager
def host(home: Path, *options: str) -> Iterator[Host]:
    process = subprocess.Popen(
        [sys.executable, "-m", "servers", "claims", *options], cwd=ROOT,
        env=inherited(SHOP_HOME=str(home)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Host(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"", "something was said twice"
    finally:
        process.kill()
        process.wait()


def meta(version: str = NEW) -> dict[str, Any]:
    return {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }


def opened(server: Host, version: str) -> list[dict[str, Any]]:
    """The first questions of a host, each answered before the next."""
    if version == NEW:
        said = [server.ask(1, "server/discover", _meta=meta())]
        return said + [server.ask(n, m, _meta=meta()) for n, m in enumerate(LISTS, 2)]
    client = {"name": "test", "version": "1"}
    said = [
        server.ask(1, "initialize", protocolVersion=version, capabilities={}, clientInfo=client)
    ]
    server.send({"method": "notifications/initialized"})
    return said + [server.ask(n, m) for n, m in enumerate(LISTS, 2)]


def call(server: Host, version: str, id: int) -> dict[str, Any]:
    more = {"_meta": meta()} if version == NEW else {}
    return server.ask(id, "tools/call", name="list_claims", arguments={}, **more)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-11-25", NEW])
def test_the_second_start_says_the_same_and_goes_on(tmp_path: Path, version: str) -> None:
    with host(tmp_path) as server:
        first = opened(server, version)
        assert call(server, version, 90)["result"]["isError"] is False
    kept = json.loads((tmp_path / "opening-claims.json").read_text())["answers"]
    assert set(kept) == {version}
    with host(tmp_path) as server:
        assert opened(server, version) == first
        assert call(server, version, 91)["result"]["isError"] is False
        assert opened_again(server, version) == first[1]


def opened_again(server: Host, version: str) -> dict[str, Any]:
    """A list asked for late, from the real server, under the id it had first."""
    return server.ask(2, "tools/list", **({"_meta": meta()} if version == NEW else {}))


def test_it_answers_without_the_real_server(tmp_path: Path) -> None:
    """The kept answers are really used: a mark put into them comes back."""
    with host(tmp_path) as server:
        opened(server, NEW)
    file = tmp_path / "opening-claims.json"
    kept = json.loads(file.read_text())
    kept["answers"][NEW]["tools/list"] = '{"mark":1}'
    file.write_text(json.dumps(kept))
    with host(tmp_path) as server:
        assert server.ask(7, "tools/list", _meta=meta())["result"] == {"mark": 1}
        page = server.ask(8, "tools/list", cursor="x", _meta=meta())
        assert page.get("result") != {"mark": 1}, "only the plain question is answered so"


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"stamp": [], "answers": {}}'])
def test_what_does_not_belong_to_this_code_is_not_used(tmp_path: Path, spoilt: str) -> None:
    (tmp_path / "opening-claims.json").write_text(spoilt)
    with host(tmp_path) as server:
        assert "tools" in opened(server, NEW)[1]["result"]


def loaded(server: Host) -> bool:
    """Whether the SDK is there."""
    maps = psutil.Process(server.process.pid).memory_maps()
    return any("pydantic_core" in each.path for each in maps)


def in_time(what: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not what() and time.monotonic() < until:
        time.sleep(0.1)
    return what()


@pytest.mark.parametrize("version", ["2025-11-25", NEW])
def test_only_one_is_loaded_before_it_is_asked(tmp_path: Path, version: str) -> None:
    with host(tmp_path) as server:
        first = opened(server, version)
    with host(tmp_path) as awake:
        opened(awake, version)
        assert in_time(lambda: loaded(awake))
        with host(tmp_path) as asleep:
            assert opened(asleep, version) == first
            time.sleep(4)
            assert not loaded(asleep), "it tried again, and the other is still there"
        with host(tmp_path) as called:
            opened(called, version)
            assert call(called, version, 90)["result"]["isError"] is False
            assert loaded(called)


def test_another_is_loaded_when_the_one_that_was_has_ended(tmp_path: Path) -> None:
    with host(tmp_path) as server:
        opened(server, NEW)
    with ExitStack() as hosts:
        with host(tmp_path) as awake:
            assert in_time(lambda: loaded(awake))
            asleep = hosts.enter_context(host(tmp_path))
            reader = hosts.enter_context(host(tmp_path, "--read-only"))
            opened(asleep, NEW)
            assert not loaded(asleep)
        assert in_time(lambda: loaded(asleep))
        opened(reader, NEW)
        assert not loaded(reader), "it may not do the shop's work"


def listing(**changes: Any) -> str:
    """A question for a list as its text."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta()}}
    return json.dumps(asked | changes)


def beginning(**changes: Any) -> str:
    known = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
    return json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": known | changes}
    )


CLIENT = {"name": "test", "version": "1"}
CAN = "io.modelcontextprotocol/clientCapabilities"
ODD = {
    "an id twice": listing().replace('"id": 1', '"id": 1, "id": 2'),
    "a mark before it": f"\ufeff{listing()}",
    "no capabilities": listing(params={"_meta": {k: v for k, v in meta().items() if k != CAN}}),
    "capabilities that are none": listing(params={"_meta": meta() | {CAN: 5}}),
    "a token for progress that is none": listing(params={"_meta": meta() | {"progressToken": []}}),
    "not a number": listing(params={"_meta": meta() | {"x": float("nan")}}),
    "beginning without saying who": beginning(clientInfo=None),
    "beginning with half a name": beginning(clientInfo={"name": "test"}),
    "beginning with no capabilities": beginning(capabilities=5),
}


def test_what_the_real_server_refuses_is_refused(tmp_path: Path) -> None:
    for version in ("2025-11-25", NEW):
        with host(tmp_path) as server:
            opened(server, version)
    for name, line in ODD.items():
        with host(tmp_path) as server:
            assert server.process.stdin is not None
            server.process.stdin.write(line.encode() + b"\n")
            server.process.stdin.flush()
            assert "error" in server.read(), name


def test_an_id_that_is_none_is_not_answered(tmp_path: Path) -> None:
    with host(tmp_path) as server:
        opened(server, NEW)
    with host(tmp_path) as server:
        server.send({"id": True, "method": "tools/list", "params": {"_meta": meta()}})
        assert server.ask(2, "tools/list", _meta=meta())["id"] == 2


def test_a_session_begun_for_the_newer_era_is_of_the_older(tmp_path: Path) -> None:
    """What it is told is not kept for the era that was asked for."""
    with host(tmp_path) as server:
        begun = server.ask(
            1, "initialize", protocolVersion=NEW, capabilities={}, clientInfo=CLIENT
        )  # fmt: skip
        assert begun["result"]["protocolVersion"] != NEW
        server.send({"method": "notifications/initialized"})
        assert set(server.ask(2, "tools/list")["result"]) == {"tools"}
    with host(tmp_path) as server:
        assert "ttlMs" in server.ask(1, "tools/list", _meta=meta())["result"]


def test_a_line_of_nothing_but_brackets_stops_nothing(tmp_path: Path) -> None:
    with host(tmp_path) as server:
        opened(server, NEW)
    with (tmp_path / "awake.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another server leads: this one waits to be asked
        with host(tmp_path) as server:
            assert server.process.stdin is not None
            server.process.stdin.write(b"[" * 20_000 + b"\n")
            server.send({"id": 9, "method": "tools/list", "params": {"_meta": meta()}})
            said = [server.read(), server.read()]
    assert {answer["id"] for answer in said} == {None, 9}


def test_what_is_kept_is_of_this_code_and_these_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any file of ours decides, and any package that is installed."""
    root, packages = tmp_path / "root", tmp_path / "site-packages"
    file = root / "common" / "server" / "deep" / "page.html"
    for folder in (file.parent, root / "servers", packages):
        folder.mkdir(parents=True)
    file.write_text("one")
    monkeypatch.setattr(front, "_ROOT", root)
    monkeypatch.setattr(sys, "path", [str(packages)])
    stamps = [front._stamp()]
    assert front._stamp() == stamps[0]
    file.write_text("another")
    stamps.append(front._stamp())
    (packages / "pydantic-2.99.dist-info").mkdir()
    stamps.append(front._stamp())
    (root / "servers" / "new.py").touch()
    stamps.append(front._stamp())
    assert len({json.dumps(each) for each in stamps}) == 4
    (root / "common" / "__pycache__").mkdir()
    (root / "common" / "__pycache__" / "x.pyc").touch()
    assert front._stamp() == stamps[-1]


def test_a_burst_cut_anywhere_is_answered_in_full(tmp_path: Path) -> None:
    with host(tmp_path) as server:
        opened(server, "2025-11-25")
    client = {"name": "test", "version": "1"}
    begin = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    messages = [
        {"id": "a", "method": "initialize", "params": begin},
        {"method": "notifications/initialized"},
        {"id": "b", "method": "tools/list"},
        {"id": "c", "method": "tools/call", "params": {"name": "list_claims", "arguments": {}}},
        {"id": "d", "method": "tools/call", "params": {"name": "none", "arguments": {}}},
    ]
    text = "".join(json.dumps({"jsonrpc": "2.0", **m}) + "\n" for m in messages).encode()
    with host(tmp_path) as server:
        assert server.process.stdin is not None
        for start in range(0, len(text), 97):
            server.process.stdin.write(text[start : start + 97])
            server.process.stdin.flush()
        answers = [server.read() for _ in range(4)]
        assert {answer["id"] for answer in answers} == {"a", "b", "c", "d"}
        by_id = {answer["id"]: answer for answer in answers}
        assert by_id["c"]["result"]["isError"] is False
        assert by_id["d"]["error"]["code"] == -32602
