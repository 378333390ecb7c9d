"""Bytes on a socket, and what comes back: for requests that no client library would send."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

PATIENCE_S: Final = 20
Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> Any:
        """JSON-RPC's code, or the word of a plain refusal."""
        found = json.loads(self.body)["error"]
        return found["code"] if isinstance(found, dict) else found


@dataclass(frozen=True)
class Wire:
    """Raw requests to one server behind one gate."""

    url: str
    path: str
    token: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    async def send(self, raw: bytes, *, half: bool = False) -> Answer:
        """Everything at once, then the first answer. Status 0: closed without one."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(raw)
            if half:
                writer.write_eof()
            return await asyncio.wait_for(answer(reader), PATIENCE_S)
        except ConnectionError:
            return Answer(0, {}, b"")
        finally:
            writer.close()

    def head(
        self, method: str = "POST", *, path: str = "", headers: Headers = (), without: str = "",
    ) -> bytes:  # fmt: skip
        """A good request's head but for what is changed; ``without`` leaves one header out."""
        lines = [f"{method} {path or self.path} HTTP/1.1"]
        usual = {
            "Host": self.host,
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        given = list(headers)
        lines += [f"{k}: {v}" for k, v in usual.items() if k.lower() != without.lower()]
        lines += [f"{k}: {v}" for k, v in given]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n"

    def request(self, body: bytes | str | Mapping[str, Any], **changes: Any) -> bytes:
        """A whole request with its length."""
        if isinstance(body, Mapping):
            body = json.dumps(body)
        raw = body.encode() if isinstance(body, str) else body
        return self.head(**changes) + f"Content-Length: {len(raw)}\r\n\r\n".encode() + raw

    async def post(self, body: bytes | str | Mapping[str, Any], **changes: Any) -> Answer:
        return await self.send(self.request(body, **changes))


async def answer(reader: asyncio.StreamReader) -> Answer:
    """One HTTP answer; of an event stream, what came with its first event."""
    line = await reader.readline()
    if not line:
        return Answer(0, {}, b"")
    status = int(line.split()[1])
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if "content-length" in headers:
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
    if headers.get("transfer-encoding") != "chunked":
        return Answer(status, headers, b"")
    body = b""
    while size := int(await reader.readline() or b"0", 16):
        body += (await reader.readexactly(size + 2))[:-2]
        if headers.get("content-type", "").startswith("text/event-stream") and b"data: {" in body:
            break
    return Answer(status, headers, body)
