"""The outermost layer: which Host and which Origin, and nothing a browser was tricked into."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import metrics, telemetry
from common.errors import UpstreamError
from common.http.answers import Refused, later, plain
from common.settings import LOOPBACK

log = logging.getLogger(__name__)
access = logging.getLogger("shop.access")

PROBES: Final = frozenset({"/healthz", "/readyz"})
FIGURES: Final = "/metrics"


class Front:
    """Exact lists, no patterns. Health probes come by address, so they may name any host."""

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str], *, lines: bool = False
    ) -> None:
        self.app = app
        self.lines = lines
        self.hosts = frozenset(host.lower().encode() for host in hosts)
        self.origins = frozenset(origin.lower().encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics.IN_FLIGHT.inc()
        try:
            with telemetry.continued(scope["headers"]):
                await self._answer(scope, receive, noted, lambda: status != 0)
        finally:
            metrics.IN_FLIGHT.dec()
            if self.lines:
                _line(scope, status, time.perf_counter() - began)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, started: Callable[[], bool]
    ) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            metrics.REFUSALS.labels("", str(refusal.status), refusal.reason).inc()
            return await refusal.answer(send)
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            # The server ends and has waited for this call as long as it may. The call may yet have
            # its effect: 500 would say that it broke.
            if not started():
                await later(
                    UpstreamError("The server ended; what became of it is unknown.")
                ).answer(send)
            raise
        except ClientDisconnect:
            return None  # nobody is there to be told
        except Exception:
            log.exception("%s %s crashed", scope["method"], scope["path"])
            if started():
                raise
            broken = plain(500, "internal_error", "Something broke on our side.")
            await broken.answer(send)

    def _refusal(self, scope: Scope) -> Refused | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(hosts) != 1 or len(origins) > 1:
            return plain(400, "host", "Exactly one Host, and at most one Origin.")
        if not self._served(hosts[0].lower(), scope["path"]):
            return plain(421, "host", "This host is not served here.")
        if origins and origins[0].lower() not in self.origins:
            return plain(403, "origin", "Requests from this origin are not accepted.")
        return None

    def _served(self, host: bytes, path: str) -> bool:
        """Probes come by whatever name an orchestrator has, figures by an address too: a name
        could be made to lead here from somebody's browser (DNS rebinding)."""
        if host in self.hosts or path in PROBES:
            return True
        return path == FIGURES and _is_address(host.decode("latin-1"))


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in LOOPBACK or bool(ip_address(name))
    except ValueError:
        return False


def _line(scope: Scope, status: int, seconds: float) -> None:
    """Who asked for what, without what a caller made up: no query, no header, no token."""
    client = scope.get("client")
    said = {
        "client": client[0] if client else "", "method": scope["method"],
        "path": scope["path"][:200], "status": status, "ms": round(seconds * 1_000, 1),
    }  # fmt: skip
    access.info(json.dumps(said, separators=(",", ":")), extra={telemetry.FIELDS: said})
