"""What a server says before the SDK is there is what it would have said anyway, once."""

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
