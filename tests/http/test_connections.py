"""Connections that somebody leaves lying, and requests in one another's way: nothing holds a
connection for ever, and nobody gets an answer that is another's."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from common.http import bounds, serving
from tests.http.test_attacks import message, routed
from tests.support import toy
from tests.support.http import Face, a_face, on_port
from tests.support.shop import a_shop, settings_in
from tests.support.wire import PATIENCE_S, Wire, answer

SOON_S = 0.5


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound comes soon. Asked for before the face, which reads them when it starts."""
    monkeypatch.setattr(serving, "KEEP_ALIVE_S", 1)
    for name in ("HEAD_S", "BODY_S", "STUCK_S"):
        monkeypatch.setattr(bounds, name, SOON_S)


@pytest.fixture
def wire(soon: None, face: Face) -> Wire:
    return Wire(face.url, "/inventory/mcp", face.token("inventory", "inventory:read"))


async def connected(wire: Wire) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = wire.host.partition(":")
    return await asyncio.open_connection(host, int(port))


def probe(wire: Wire) -> bytes:
    return wire.head("GET", path="/healthz") + b"\r\n"


@pytest.mark.parametrize("left", [b"", b"\r\n"])
async def test_an_idle_connection_is_closed_and_a_blank_line_makes_it_no_busier(
    wire: Wire, left: bytes
) -> None:
    reader, writer = await connected(wire)
    writer.write(probe(wire))
    assert (await answer(reader)).status == 200
    writer.write(left)
    await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()


@pytest.mark.parametrize("trailer", ["Authorization: Bearer {token}", "Host: evil.example"])
async def test_a_trailer_is_no_field_of_the_head(wire: Wire, trailer: str) -> None:
    """RFC 9110, 6.5.1: what comes after the body neither signs in nor names a place."""
    known = trailer.startswith("Host")
    head = wire.head(
        headers=[*routed("tools/list")[:2], ("Transfer-Encoding", "chunked")],
        without="" if known else "Authorization",
    )  # fmt: skip
    body = wire.request(message("tools/list")).partition(b"\r\n\r\n")[2]
    chunk = f"\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n"
    after = trailer.format(token=wire.token).encode() + b"\r\n\r\n"
    assert (await wire.send(head + chunk + after)).status == (200 if known else 401)


async def test_a_broken_request_is_not_the_answer_to_the_one_before(wire: Wire) -> None:
    reader, writer = await connected(wire)
    broken = wire.head(headers=[("Transfer-Encoding", "chunked")]) + b"\r\nzz\r\n"
    writer.write(probe(wire) + broken)
    assert (await answer(reader)).status in {0, 200}
    writer.close()


async def test_a_slow_request_does_not_write_into_the_answer_before_it(wire: Wire) -> None:
    listen = message("subscriptions/listen", notifications={"toolsListChanged": True})
    stream = wire.request(listen, headers=routed("subscriptions/listen")[:2])
    reader, writer = await connected(wire)
    writer.write(stream + stream[:-5])
    said = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    assert said.count(b"HTTP/1.1 ") == 1, said
    assert said.startswith(b"HTTP/1.1 200")


async def test_listening_everywhere_an_ipv4_caller_keeps_its_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By ``::ffff:127.0.0.1`` no list knows it: not the proxies', not that of the figures."""
    http = on_port(settings_in(tmp_path)).http
    http = replace(http, host="::", trusted_proxies=("127.0.0.1",), access_log=True)
    async with (
        a_shop(tmp_path, http=http) as shop,
        a_face(shop, [toy.tools]) as face,
        face.browser() as browser,
    ):
        assert (await browser.get("/metrics")).status_code == 200
        with caplog.at_level("INFO", "shop.access"):
            await browser.get("/healthz", headers={"X-Forwarded-For": "203.0.113.9"})
        assert '"client":"203.0.113.9"' in caplog.text
