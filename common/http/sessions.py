"""Sessions of the older protocol era: bounded in number for each principal, bound to it, idle only
for a while. They live in one process; the newer era has none."""

from typing import Any, Final

from anyio.abc import TaskGroup
from mcp.server.auth.middleware.bearer_auth import (
    AuthenticatedUser,
    AuthorizationContext,
    authorization_context,
)
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import EventStore, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from common import metrics
from common.http.body import MOST_BYTES
from common.shoppers import GUEST_ISSUER

MOST_SESSIONS: Final = 2_000
MOST_OF_ONE: Final = 32
IDLE_S: Final = 15 * 60


class Sessions(StreamableHTTPSessionManager):
    """A principal's oldest idle session makes room for a new one: that client starts anew, as the
    protocol has it. When all of them are busy, or the process is full, the answer is 503."""

    def __init__(
        self,
        server: Server[Any],
        domain: str,
        *,
        event_store: EventStore | None = None,
        retry_interval: int | None = None,
        idle_s: float = IDLE_S,
        most: int = MOST_SESSIONS,
        most_of_one: int = MOST_OF_ONE,
    ) -> None:
        super().__init__(
            server, event_store=event_store, retry_interval=retry_interval,
            session_idle_timeout=idle_s, max_sessions=most, max_request_body_size=MOST_BYTES,
        )  # fmt: skip
        self._open = metrics.SESSIONS.labels(domain)
        self._most_of_one = most_of_one
        self._most_of_guests = max(most // 2, most_of_one)  # all of them are one principal

    def owned(self, id: str, user: AuthenticatedUser) -> bool:
        """Whether there is such a session, and it was begun by this principal."""
        owner = self._session_owners.get(id)
        return id in self._server_instances and owner == authorization_context(user)

    def _admit_session(
        self, requestor: AuthorizationContext | None
    ) -> StreamableHTTPServerTransport | None:
        own = [id for id, owner in self._session_owners.items() if owner == requestor]
        guest = requestor is not None and requestor["issuer"] == GUEST_ISSUER
        if len(own) >= (self._most_of_guests if guest else self._most_of_one):
            idle = (id for id in own if not self._server_instances[id]._requests_in_flight)
            oldest = next(idle, None)
            if oldest is None:
                return None
            transport = self._server_instances.pop(oldest)
            del self._session_owners[oldest]
            tasks: TaskGroup | None = self._task_group
            assert tasks is not None, "a request is served only while the manager runs"
            tasks.start_soon(self._discard_session, oldest, transport)
        admitted = super()._admit_session(requestor)
        self._open.set(len(self._server_instances))
        return admitted

    async def _discard_session(
        self, session_id: str, transport: StreamableHTTPServerTransport
    ) -> None:
        await super()._discard_session(session_id, transport)
        self._open.set(len(self._server_instances))


def stateless(server: Server[Any], *, json_response: bool) -> StreamableHTTPSessionManager:
    """For requests that stand alone."""
    return StreamableHTTPSessionManager(
        server, json_response=json_response, stateless=True, max_request_body_size=MOST_BYTES
    )
