"""What an attacker sends to the HTTP face, byte by byte, and the exact answer. Never a 5xx."""

import asyncio
import gzip
import json
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)

import common.http.bounds
from common.http import body, sessions
from tests.support import toy
from tests.support.http import Face, a_face, on_port
from tests.support.shop import a_shop, do, settings_in
from tests.support.wire import PATIENCE_S, Answer, Wire, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW = "2026-07-28"
Build = Callable[[Wire], bytes]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Face]:
    folder: Path = tmp_path_factory.mktemp("attacked")
    http = on_port(settings_in(folder)).http
    async with a_shop(folder, policy_file=toy.policy_in(folder), http=http) as shop:
        await do(shop, "inventory", toy.stocked)
        async with a_face(shop, [toy.tools]) as face:
            yield face


@pytest.fixture
def wire(served: Face) -> Wire:
    token = served.token("inventory", "inventory:read", "inventory:write")
    return Wire(served.url, "/inventory/mcp", token)


def message(method: str = "tools/call", id: Any = 1, **params: Any) -> dict[str, Any]:
    """A request of the newer era that a server would answer."""
    meta = {
        PROTOCOL_VERSION_META_KEY: NEW,
        CLIENT_INFO_META_KEY: {"name": "attacker", "version": "0"},
        CLIENT_CAPABILITIES_META_KEY: {},
    }
    if method == "tools/call" and not params:
        params = {"name": "peek", "arguments": {}}
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}


def routed(method: str = "tools/call", name: str = "peek") -> list[tuple[str, str]]:
    """The headers that repeat the body, as the newer era wants them."""
    return [("MCP-Protocol-Version", NEW), ("Mcp-Method", method), ("Mcp-Name", name)]


def with_body(raw: bytes | str, *more: tuple[str, str], without: str = "") -> Build:
    return lambda wire: wire.request(raw, headers=[*routed(), *more], without=without)


def with_head(*more: tuple[str, str], without: str = "", method: str = "POST") -> Build:
    return lambda wire: wire.request(
        message(), headers=[*routed(), *more], without=without, method=method
    )


def with_path(path: str, method: str = "POST") -> Build:
    return lambda wire: wire.request(message(), headers=routed(), path=path, method=method)


def with_id(id: Any) -> Build:
    return with_body(json.dumps(message(id=id)))


def said(headers: list[tuple[str, str]], sent: dict[str, Any] | None = None) -> Build:
    return lambda wire: wire.request(sent or message(), headers=headers)


def nested(levels: int) -> str:
    deep = '{"a":' * levels + "1" + "}" * levels
    return json.dumps(message(name="peek", arguments={"x": 0})).replace('{"x": 0}', deep)


def coded(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


GOOD = json.dumps(message())
BOMB = gzip.compress(b'{"jsonrpc":"2.0","id":1,"method":"ping","x":"' + b"a" * 50_000_000 + b'"}')
BAD_AUTH = ("Authorization", "Basic YTpi")
TABLE: dict[str, tuple[Build, int, Any]] = {
    "control: a good request": (with_body(GOOD), 200, None),
    "64 no token": (with_head(without="Authorization"), 401, "unauthorized"),
    "64 Basic": (with_head(BAD_AUTH, without="Authorization"), 401, "invalid_token"),
    "64 Bearer only": (
        with_head(("Authorization", "Bearer"), without="Authorization"), 401, "invalid_token"),
    "64 two spaces": (
        with_head(("Authorization", "Bearer  x"), without="Authorization"), 401, "invalid_token"),
    "65 token in the query": (with_path("/inventory/mcp?access_token=x"), 400, "invalid_request"),
    "65 token in a form": (
        lambda w: w.request("access_token=x", without="Content-Type", headers=[
            ("Content-Type", "application/x-www-form-urlencoded")]), 400, "content_type"),
    "66 two Authorization headers": (with_head(("Authorization", "Bearer x")), 400, None),
    "67 two Host": (with_head(("Host", "evil.example")), 400, "host"),
    "67 no Host": (with_head(without="Host"), 400, "host"),
    "68 smuggling: length and chunks": (
        lambda w: w.head(headers=[("Content-Length", "4"), ("Transfer-Encoding", "chunked")])
        + b"\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n", 400, None),
    "68 smuggling: two lengths": (
        lambda w: w.head(headers=[("Content-Length", "4"), ("Content-Length", "40")])
        + b"\r\n{}  ", 400, None),
    "68 smuggling: chunked, identity": (
        lambda w: w.head(headers=[("Transfer-Encoding", "chunked, identity")]) + b"\r\n",
        400, None),
    "68 smuggling: a space before the colon": (
        lambda w: w.head() + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, None),
    "68 smuggling: a line without its return": (
        lambda w: w.head() + b"X: a\nContent-Length: 4\r\n\r\n{}  ", 400, None),
    "68 smuggling: a chunk size that is none": (
        lambda w: w.head(headers=[("Transfer-Encoding", "chunked")]) + b"\r\n0x4\r\n{}  \r\n",
        400, None),
    "69 header of 100 kB": (with_head(("X-Large", "a" * 100_000)), 431, None),
    "69 a thousand headers": (
        with_head(*[(f"X-{n}", "a") for n in range(1_000)]), 431, None),
    "69 URL of 100 kB": (with_path("/inventory/mcp?" + "a" * 100_000), 431, None),
    "69 a header without end": (lambda w: w.head() + b"X-Long: " + b"a" * 100_000, 431, None),
    "70 Origin evil": (with_head(("Origin", "https://evil.example")), 403, "origin"),
    "70 Origin null": (with_head(("Origin", "null")), 403, "origin"),
    "70 two Origins": (
        with_head(("Origin", "https://evil.example"), ("Origin", "null")), 400, "host"),
    "71 Origin that begins well": (
        lambda w: w.request(message(), headers=[*routed(), ("Origin", w.url + ".evil.example")]),
        403, "origin"),
    "72 Host rebound": (with_head(("Host", "evil.example"), without="Host"), 421, "host"),
    "72 Host that begins well": (
        lambda w: w.request(message(), without="Host", headers=[
            *routed(), ("Host", w.host + ".evil.example")]), 421, "host"),
    "73 GET": (with_head(method="GET"), 405, "method"),
    "73 DELETE": (with_head(method="DELETE"), 405, "method"),
    "73 GET of the older era without a session": (
        lambda w: w.head("GET") + b"\r\n", 405, "method"),
    "73 PUT": (with_head(method="PUT"), 405, "method"),
    "73 PATCH": (with_head(method="PATCH"), 405, "method"),
    "73 TRACE": (with_head(method="TRACE"), 405, "method"),
    "73 OPTIONS": (with_head(method="OPTIONS"), 405, "method"),
    "74 text/plain": (
        with_head(("Content-Type", "text/plain"), without="Content-Type"), 400, "content_type"),
    "74 no type": (with_head(without="Content-Type"), 400, "content_type"),
    "75 application/json-evil": (
        with_head(("Content-Type", "application/json-evil"), without="Content-Type"),
        400, "content_type"),
    "75 two types in one": (
        with_head(("Content-Type", "text/plain, application/json"), without="Content-Type"),
        400, "content_type"),
    "75 another charset": (
        with_head(("Content-Type", "application/json; charset=utf-16"), without="Content-Type"),
        400, "content_type"),
    "75 our charset": (
        with_head(("Content-Type", 'application/json; charset="UTF-8"'), without="Content-Type"),
        200, None),
    "76 gzip": (
        with_body(gzip.compress(GOOD.encode()), ("Content-Encoding", "gzip")),
        415, "content_encoding"),
    "76 gzip that is not named": (with_body(gzip.compress(GOOD.encode())), 400, -32700),
    "77 gzip bomb": (with_body(BOMB, ("Content-Encoding", "gzip")), 415, "content_encoding"),
    "78 5 MB": (with_body(b" " * 5_000_000), 413, "too_large"),
    "78 a length of 30 digits": (
        lambda w: w.head(headers=[("Content-Length", "9" * 30)]) + b"\r\n", 400, None),
    "78 a negative length": (
        lambda w: w.head(headers=[("Content-Length", "-1")]) + b"\r\n", 400, None),
    "80 UTF-16": (with_body(coded(GOOD, "utf-16")), 400, -32700),
    "80 UTF-16 without a mark": (with_body(coded(GOOD, "utf-16-le")), 400, -32700),
    "80 UTF-32": (with_body(coded(GOOD, "utf-32")), 400, -32700),
    "80 byte order mark": (with_body(coded(GOOD, "utf-8-sig")), 400, -32700),
    "81 not UTF-8": (with_body(GOOD.encode().replace(b"peek", b"pe\xff\xfek")), 400, -32700),
    "81 half a surrogate pair": (with_body(GOOD.replace("peek", "\\ud800")), 400, -32700),
    "81 empty": (with_body(b""), 400, -32700),
    "81 two messages": (with_body(GOOD + GOOD), 400, -32700),
    "81 NaN": (with_body(GOOD.replace('"id": 1', '"id": NaN')), 400, -32700),
    "81 a member twice": (with_body(GOOD.replace('"id": 1', '"id": 1, "id": 2')), 400, -32700),
    "81 a tool named twice": (
        with_body(GOOD.replace('"name": "peek"', '"name": "peek", "name": "take"')), 400, -32700),
    "101 an argument twice": (
        with_body(json.dumps(message(name="peek", arguments={"x": 0})).replace(
            '"x": 0', '"x": 0, "x": 1')), 400, -32700),
    "82 100,000 brackets": (with_body("[" * 100_000), 400, -32600),
    "82 100,000 braces": (with_body('{"a":' * 100_000), 400, -32600),
    "83 900 levels": (with_body(nested(900)), 400, -32600),
    "83 60 levels": (with_body(nested(60)), 200, None),
    "84 batch": (with_body(f"[{GOOD},{GOOD}]"), 400, -32600),
    "84 empty batch": (with_body("[]"), 400, -32600),
    "84 text": (with_body('"text"'), 400, -32600),
    "85 posted answer": (with_body('{"jsonrpc":"2.0","id":1,"result":{}}'), 400, -32600),
    "85 neither": (with_body('{"jsonrpc":"2.0","id":1}'), 400, -32600),
    "85 no version": (with_body('{"id":1,"method":"ping"}'), 400, -32600),
    "86 id null": (with_id(None), 400, -32600),
    "86 id 1.5": (with_id(1.5), 400, -32600),
    "86 id an object": (with_id({}), 400, -32600),
    "86 id true": (with_id(True), 400, -32600),
    "86 id of 70 bits": (with_id(2**70), 400, -32600),
    "86 id of 5,000 digits": (
        with_body(GOOD.replace('"id": 1', f'"id": {"9" * 5_000}')), 400, -32600),
    "87 id of 100 kB": (with_id("a" * 100_000), 400, -32600),
    "88 another method in the header": (said(routed("tools/list")), 400, -32020),
    "88 another name in the header": (said(routed(name="take")), 400, -32020),
    "88 another version in the body": (
        said(routed(), json.loads(GOOD.replace(NEW, "2099-01-01"))), 400, -32020),
    "88 two versions": (
        said([("MCP-Protocol-Version", "2025-11-25"), *routed()]), 400, -32020),
    "88 two methods": (said([*routed(), ("Mcp-Method", "tools/list")]), 400, -32020),
    "88 two names": (said([*routed(), ("Mcp-Name", "take")]), 400, -32020),
    "89 unknown version": (
        said([("MCP-Protocol-Version", "2099-01-01"), *routed()[1:]],
             json.loads(GOOD.replace(NEW, "2099-01-01"))), 400, -32022),
    "89 a version that is none": (
        said([("MCP-Protocol-Version", "x" * 2_000), *routed()[1:]]), 400, -32020),
    "92 a line break in an encoded name": (
        said(routed(name="=?base64?cGVlaw0KWC1FdmlsOiAx?=")), 400, -32020),
    "92 an encoded name that is none": (said(routed(name="=?base64?????=")), 400, -32020),
    "93 a tool, and no name in the header": (said(routed()[:2]), 400, -32020),
    "params that are a list": (
        with_body('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}'), 400, -32600),
    "a method that is a number": (with_body('{"jsonrpc":"2.0","id":1,"method":5}'), 400, -32600),
    "a method that does not exist": (
        said(routed("tools/destroy"), message("tools/destroy")), 404, -32601),
    "a tool that does not exist": (
        said(routed(name="rm"), message(name="rm", arguments={})), 400, -32602),
    "a tool that does not exist, and another in the header": (
        said(routed(), message(name="rm", arguments={})), 400, -32020),
    "a method that does not exist, and another in the header": (
        said(routed(), message("tools/destroy")), 400, -32020),
    "a tool's name that is a list": (
        said(routed(), message(name=["peek"], arguments={})), 400, -32020),
    "a path beside it": (with_path("/inventory/mcp/"), 404, None),
    "a path above it": (with_path("/x/../inventory/mcp"), 404, None),
    "a server that does not exist": (with_path("/nothing/mcp"), 404, None),
    "a path that is not ASCII": (with_path("/inventory/\u0456mcp"), 400, None),
    "a path with a NUL": (with_path("/inventory/mcp%00"), 404, None),
    "an upgrade to web sockets": (
        with_head(("Connection", "Upgrade"), ("Upgrade", "websocket")), 400, -32700),
    "not HTTP": (lambda w: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, None),
    "another scheme's address": (with_path("http://evil.example/inventory/mcp"), 200, None),
    "CONNECT": (lambda w: f"CONNECT evil.example:443 HTTP/1.1\r\nHost: {w.host}\r\n\r\n".encode(),
                400, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
async def test_the_table(wire: Wire, name: str) -> None:
    build, status, error = TABLE[name]
    got = await wire.send(build(wire))
    assert got.status == status, (got.status, got.body[:300])
    if error is not None:
        assert got.error == error, got.body
    if status == 401:
        assert 'resource_metadata="' in got.headers["www-authenticate"]
        assert ("error=" in got.headers["www-authenticate"]) == (error != "unauthorized")
    # The server is as well as before.
    assert (await wire.post(message(), headers=routed())).status == 200


async def chunks(wire: Wire, megabytes: int) -> Answer:
    """A body that never says how long it is, sent until an answer comes."""
    port = int(wire.host.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = asyncio.create_task(answer(reader))
    try:
        writer.write(wire.head(headers=[("Transfer-Encoding", "chunked")]) + b"\r\n")
        for _ in range(megabytes):
            if got.done():
                break
            writer.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
            await writer.drain()
        return await asyncio.wait_for(got, PATIENCE_S)
    except ConnectionError:
        return await asyncio.wait_for(got, PATIENCE_S)
    finally:
        got.cancel()
        writer.close()


async def test_78_100_mb_without_a_length(wire: Wire) -> None:
    """Refused at 4 MiB; memory does not follow, whether or not the caller is known."""
    await wire.post(b" " * 4_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await chunks(wire, 100)).status == 413
    stranger = Wire(wire.url, wire.path, "nobody")
    assert (await chunks(stranger, 100)).status == 401
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 24_000, f"{grown} kB"


async def test_79_slow_clients(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head, then a body, that never ends: answered and closed; others are served meanwhile."""
    monkeypatch.setattr(common.http.bounds, "HEAD_S", 0.3)
    monkeypatch.setattr(common.http.bounds, "BODY_S", 0.3)
    head = await wire.send(wire.head())
    assert (head.status, head.headers["connection"]) == (408, "close")
    assert (await wire.send(b"")).status == 408
    slow = wire.head(headers=[("Content-Length", "40")]) + b'\r\n{"json'
    assert (await wire.send(slow)).status == 408
    monkeypatch.setattr(common.http.bounds, "BODY_S", 60.0)
    monkeypatch.setattr(body, "PATIENCE_S", 0.3)
    inner = await wire.send(slow)
    assert (inner.status, inner.error) == (408, "too_slow")
    assert (await wire.post(message(), headers=routed())).status == 200


async def hello(wire: Wire, token: str = "") -> Answer:
    greeting = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "raw", "version": "0"},
        },
    }  # fmt: skip
    return await Wire(wire.url, wire.path, token or wire.token).post(greeting)


async def test_90_a_session_of_somebody_else(served: Face, wire: Wire) -> None:
    """Not for another person, nor for the same person's other program; the owner keeps it."""
    session = (await hello(wire)).headers["mcp-session-id"]
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    at = [("Mcp-Session-Id", session)]
    scopes = ("inventory:read", "inventory:write")
    for other in (
        served.token("inventory", *scopes, subject="eve@example.com"),
        served.token("inventory", *scopes, client="another"),
    ):
        thief = Wire(wire.url, wire.path, other)
        assert (await thief.post(listing, headers=at)).status == 404
        gone = await thief.send(thief.head("DELETE", headers=at) + b"\r\n")
        assert gone.status == 404
        stream = await thief.send(thief.head("GET", headers=at) + b"\r\n")
        assert stream.status == 404
    assert (await wire.post(listing, headers=at)).status == 200
    assert (await wire.post(listing)).status == 400, "no session named"
    ended = await wire.send(wire.head("DELETE", headers=at) + b"\r\n")
    assert ended.status == 200
    assert (await wire.post(listing, headers=at)).status == 404


async def test_91_a_flood_of_sessions(served: Face, wire: Wire) -> None:
    """One caller's oldest idle session makes room; another caller's stays."""
    other = served.token("inventory", "inventory:read", subject="bo@example.com")
    kept = (await hello(wire, other)).headers["mcp-session-id"]
    first = (await hello(wire)).headers["mcp-session-id"]
    opened = [await hello(wire) for _ in range(sessions.MOST_OF_ONE + 8)]
    assert {answer.status for answer in opened} == {200}
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    assert (await wire.post(listing, headers=[("Mcp-Session-Id", first)])).status == 404
    last = opened[-1].headers["mcp-session-id"]
    assert (await wire.post(listing, headers=[("Mcp-Session-Id", last)])).status == 200
    bo = Wire(wire.url, wire.path, other)
    assert (await bo.post(listing, headers=[("Mcp-Session-Id", kept)])).status == 200


async def test_93_a_writing_tool_behind_a_reading_header(served: Face, wire: Wire) -> None:
    """The gate looks at the body: a header that names another tool opens nothing."""
    reader = Wire(wire.url, wire.path, served.token("inventory", "inventory:read"))
    take = message(name="take", arguments={"quantity": 1})
    for headers in (routed(), routed(name="take"), routed()[:2], []):
        got = await reader.post(take, headers=headers)
        assert got.status == 403
        assert 'scope="inventory:read inventory:write"' in got.headers["www-authenticate"]
    both = [("MCP-Protocol-Version", "2025-11-25"), *routed()]
    assert (await reader.post(take, headers=both)).status == 400


async def test_95_metadata_needs_no_token(served: Face, wire: Wire) -> None:
    path = "/.well-known/oauth-protected-resource/inventory/mcp"
    got = await wire.send(wire.head("GET", path=path, without="Authorization") + b"\r\n")
    assert got.status == 200
    assert json.loads(got.body) == {
        "resource": f"{served.url}/inventory/mcp",
        "resource_name": "Toys (inventory)",
        "authorization_servers": [served.url],
        "scopes_supported": ["inventory:read"],
        "bearer_methods_supported": ["header"],
    }


async def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    good = wire.request(message(), headers=routed())
    port = int(wire.host.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(good + wire.request("[]", headers=routed()) + good)
    assert [(await answer(reader)).status for _ in range(3)] == [200, 400, 200]
    writer.close()
