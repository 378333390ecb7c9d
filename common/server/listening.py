"""``subscriptions/listen``: who may, and where the events come from.

Whoever may read a resource may watch it: the gate reads it once, by the same rule, before the
stream begins. An event names a URI and nothing else; to know what changed it is read again, with
the rights the caller then has.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from sqlalchemy.orm import Session

from common.approvals import requests
from common.call import Actor, Identity
from common.errors import Internal, NotAuthenticated, NotFound, ShopError
from common.guard import Guard
from common.incoming import Reading
from common.notices import Notices
from common.toolset import Toolset

METHOD: Final = "subscriptions/listen"
MOST_URIS: Final = 32
MOST_STREAMS: Final = 16
APPROVAL: Final = "approvals://request/"


class Bus:
    """The SDK's seam for events, over the notices of the shop."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    async def publish(self, event: ServerEvent) -> None:
        """To every worker."""
        if isinstance(event, ResourceUpdated):
            self._notices.changed([event.uri])

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """To what any worker commits."""
        return self._notices.listen(lambda uri: listener(ResourceUpdated(uri=uri)))


class Gate:
    """Middleware of one server."""

    def __init__(self, toolset: Toolset, guard: Guard, identity: Identity) -> None:
        self._toolset = toolset
        self._guard = guard
        self._identity = identity
        self._streams: Counter[str] = Counter()

    async def __call__(self, ctx: Any, call_next: Callable[[Any], Any]) -> Any:
        if ctx.method != METHOD:
            return await call_next(ctx)
        actor = await self._admitted(ctx.params or {})
        if self._streams[actor.counted] >= MOST_STREAMS:
            raise MCPError(code=INTERNAL_ERROR, message=f"{MOST_STREAMS} streams are open already.")
        self._streams[actor.counted] += 1
        try:
            return await call_next(ctx)
        finally:
            self._streams[actor.counted] -= 1
            if self._streams[actor.counted] <= 0:
                del self._streams[actor.counted]

    async def _admitted(self, params: Any) -> Actor:
        wanted = params.get("notifications") if isinstance(params, dict) else None
        uris = (wanted or {}).get("resourceSubscriptions") or []
        if not isinstance(uris, list) or len(uris) > MOST_URIS:
            raise MCPError(code=INVALID_PARAMS, message=f"At most {MOST_URIS} resources a stream.")
        try:
            actor = self._identity()
            if not actor.subject:
                raise NotAuthenticated("Nobody is signed in.")
            for uri in uris:
                await self._look(actor, str(uri))
        except ShopError as error:
            code = INTERNAL_ERROR if isinstance(error, Internal) else INVALID_PARAMS
            wire = error.wire()
            raise MCPError(code=code, message=wire["message"], data=wire) from None
        return actor

    async def _look(self, actor: Actor, uri: str) -> None:
        guard = self._guard
        if uri.startswith(APPROVAL):

            def own(session: Session) -> None:
                requests.status(session, uri.removeprefix(APPROVAL), actor, guard.clock())

            await guard.database.run(self._toolset.domain, own, write=False)
            return
        found = self._toolset.resource_for(uri)
        if found is None:
            raise NotFound("No such resource.")
        spec, values = found
        await guard.read(Reading(spec, values, actor))
