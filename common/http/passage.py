"""What goes on after the gate: a request handed to the server, with the caller set.

A stream lasts, so its credential is looked at again while it does: whoever was sent away hears
nothing more. All streams of one credential are one look.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Message, Receive, Scope, Send

from common.auth import Authenticator, Caller, CredentialsRefused, Headers, calling

log = logging.getLogger(__name__)

LONGEST_STREAM_S: Final = 3_600
LOOKED_AT_S: Final = 2.0
_CREDENTIALS: Final = frozenset({b"authorization", b"x-mcp-api-key", b"x-mcp-auth"})


class Lasting:
    """The streams of one server that are open, by the credential they were opened with."""

    def __init__(self, authenticator: Authenticator, audience: str) -> None:
        self._authenticator, self._audience = authenticator, audience
        self._open: dict[tuple[tuple[bytes, bytes], ...], set[asyncio.Timeout]] = {}
        self._looking: set[asyncio.Task[None]] = set()

    @contextmanager
    def watched(self, headers: Headers, until: asyncio.Timeout) -> Iterator[None]:
        """Bring ``until`` forward once the credential is refused. A guest has none to lose."""
        credential = tuple(pair for pair in headers if pair[0] in _CREDENTIALS)
        if not credential:
            yield
            return
        same = self._open.get(credential)
        if same is None:
            same = self._open[credential] = set()
            task = asyncio.create_task(self._look(credential, same))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)
        same.add(until)
        try:
            yield
        finally:
            same.discard(until)

    async def _look(self, credential: Headers, same: set[asyncio.Timeout]) -> None:
        """As long as there are such streams."""
        while True:
            await asyncio.sleep(LOOKED_AT_S)
            if not same:
                del self._open[tuple(credential)]
                return
            if not await self._good(credential):
                now = asyncio.get_running_loop().time()
                for until in same:
                    if not until.expired():
                        until.reschedule(now)

    async def _good(self, credential: Headers) -> bool:
        """Whoever cannot be asked now is asked again."""
        try:
            await self._authenticator.authenticate(credential, audience=self._audience)
        except CredentialsRefused:
            return False
        except Exception as error:
            log.warning("whether a stream may go on cannot be told now: %s", error)
        return True


def user_of(caller: Caller) -> AuthenticatedUser:
    """What the SDK binds a session and a sealed request state to. The token itself stays here.
    A guest is known by the session's id, which there is not when a session begins."""
    actor = caller.actor
    subject = "guest" if caller.method == "guest" else actor.subject
    return AuthenticatedUser(
        AccessToken(
            token="", client_id=actor.client, scopes=[], subject=subject,
            claims={"iss": actor.issuer},
        )
    )  # fmt: skip


@dataclass(frozen=True)
class Passage:
    """A request that may go on. ``endless``: its stream ends at the latest with the token, and
    soon after the token was taken back."""

    scope: Scope
    receive: Receive
    caller: Caller
    manager: StreamableHTTPSessionManager
    endless: bool
    lasting: Lasting

    async def __call__(self, send: Send) -> None:
        user = user_of(self.caller)
        scope: Scope = {**self.scope, "user": user}
        who, sdk = calling.set(self.caller), auth_context_var.set(user)
        try:
            if self.endless:
                await self._while_good(scope, send)
            else:
                await self.manager.handle_request(scope, self.receive, send)
        finally:
            auth_context_var.reset(sdk)
            calling.reset(who)

    async def _while_good(self, scope: Scope, send: Send) -> None:
        longest = float(LONGEST_STREAM_S)
        if self.caller.expires_at:
            longest = min(longest, max(0.0, self.caller.expires_at - time.time()))
        started = complete = False

        async def noted(message: Message) -> None:
            nonlocal started, complete
            started = True
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            async with asyncio.timeout(longest) as until:
                with self.lasting.watched(scope["headers"], until):
                    await self.manager.handle_request(scope, self.receive, noted)
        except TimeoutError:
            if started and not complete:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
