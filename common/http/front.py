"""The outermost layer: which Host and which Origin, and nothing a browser was tricked into."""

import logging
from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from common.http.answers import Refused, plain

log = logging.getLogger(__name__)

PROBES: Final = frozenset({"/healthz", "/readyz"})


class Front:
    """Exact lists, no patterns. Health probes come by address, so they may name any host."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower().encode() for host in hosts)
        self.origins = frozenset(origin.lower().encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        refusal = self._refusal(scope)
        if refusal is not None:
            return await refusal.answer(send)
        started = False

        async def noted(message: object) -> None:
            nonlocal started
            started = True
            await send(message)  # type: ignore[arg-type]

        try:
            await self.app(scope, receive, noted)
        except Exception:
            log.exception("%s %s crashed", scope["method"], scope["path"])
            if started:
                raise
            broken = plain(500, "internal_error", "Something broke on our side.")
            await broken.answer(send)

    def _refusal(self, scope: Scope) -> Refused | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(hosts) != 1 or len(origins) > 1:
            return plain(400, "host", "Exactly one Host, and at most one Origin.")
        if hosts[0].lower() not in self.hosts and scope["path"] not in PROBES:
            return plain(421, "host", "This host is not served here.")
        if origins and origins[0].lower() not in self.origins:
            return plain(403, "origin", "Requests from this origin are not accepted.")
        return None
