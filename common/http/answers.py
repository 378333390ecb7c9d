"""What the HTTP face answers when it does not let a request through."""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from starlette.types import Send

from common.audit.redact import mask
from common.errors import Busy, UpstreamError

RawHeaders = list[tuple[bytes, bytes]]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
HEADER_MISMATCH: Final = -32020
_UNQUOTABLE = re.compile(r'[^\x20-\x7e]|["\\]')


class Refused(Exception):
    """A request ends here: status, what the body says, and the headers that go with it.

    ``reason`` is a closed word for counters; it is never sent.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        body: dict[str, Any],
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.body = body
        self.headers = list(headers)

    async def answer(self, send: Send) -> None:
        await answer_json(send, self.status, self.body, self.headers)


def plain(status: int, reason: str, message: str, **headers: str) -> Refused:
    """A refusal below the protocol: wrong host, method, type or size."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Refused(status, reason, {"error": reason, "error_description": message}, named)


def later(error: Busy | UpstreamError) -> Refused:
    """The database takes nothing now: the same request is worth another try."""
    return plain(503, error.code, error.message, retry_after=str(error.retry_after_s))


def protocol(status: int, code: int, reason: str, message: str, id: Any = None) -> Refused:
    """A refusal in JSON-RPC's own form."""
    error = {"code": code, "message": mask(message)}
    return Refused(status, reason, {"jsonrpc": "2.0", "id": id, "error": error})


def challenge(
    status: int,
    *,
    reason: str,
    error: str,
    description: str,
    scopes: Iterable[str],
    metadata_url: str,
) -> Refused:
    """401, 403 or 400 with a bearer challenge. No ``error`` when no credentials were sent."""
    parts = []
    if error:
        parts = [f'error="{error}"', f'error_description="{_UNQUOTABLE.sub(" ", description)}"']
    parts += [f'scope="{" ".join(scopes)}"', f'resource_metadata="{metadata_url}"']
    return Refused(
        status,
        reason,
        {"error": error or "unauthorized", "error_description": description},
        [("www-authenticate", "Bearer " + ", ".join(parts))],
    )


async def answer_json(
    send: Send, status: int, body: Any, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """One JSON answer, kept by no cache unless a header says otherwise."""
    text = json.dumps(body, separators=(",", ":")).encode()
    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    raw: RawHeaders = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(text)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *given,
    ]
    if not any(name == b"cache-control" for name, _ in given):
        raw.append((b"cache-control", b"no-store"))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": text})
