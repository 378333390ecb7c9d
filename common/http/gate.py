"""The gate in front of one server: who calls, and may they do what the body says?

It decides on the parsed body, never on a header that repeats it, and refuses what it does not
know. A challenge names everything the operation needs at once, so that a client steps up once.
The guard behind it checks again.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import Message, Receive, Scope, Send

from common.auth import (
    Authenticator,
    Caller,
    CredentialsMalformed,
    CredentialsRefused,
    Headers,
    IssuerUnavailable,
)
from common.errors import LATER
from common.http import body, lists
from common.http.answers import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    Refused,
    challenge,
    later,
    plain,
    protocol,
)
from common.http.lists import Lists
from common.http.passage import Lasting, Passage, user_of
from common.http.required_scopes import Need, Needs
from common.http.sessions import Sessions
from common.scopes import granted

log = logging.getLogger(__name__)

METHODS: Final = frozenset({"POST", "GET", "DELETE"})
MOST_STREAMS: Final = 64  # of one caller; there is one a session
_ONCE: Final = frozenset({
    b"authorization", b"content-type", b"content-length", b"content-encoding", b"mcp-session-id",
    b"x-mcp-api-key", b"x-mcp-auth", b"last-event-id", b"accept-encoding",
})  # fmt: skip
_ROUTING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
_NO_SESSION = (
    "Session not found. It has ended, it lives in another process, or it was begun under another "
    "sign-in or none: reconnect, that is, send initialize and go on in the new session."
)
_CHALLENGE_SAYS = "Additional permission is required: "


class Watch(Protocol):
    """Counts and records what the gate refuses, and holds the limits."""

    def refused(self, domain: str, refusal: Refused) -> None: ...

    async def denied(self, domain: str, caller: Caller, target: str, missing: list[str]) -> None:
        """A caller asked for what they may not do: this is recorded."""
        ...

    async def admit(self, domain: str, caller: Caller, need: Need) -> None:
        """Raises Refused (429) when the caller sends too much."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """One server as the gate sees it. ``guest`` says who calls without credentials, if anybody
    may: their scopes are all they have."""

    domain: str
    needs: Needs
    audience: str
    metadata_url: str
    streaming: StreamableHTTPSessionManager
    single: StreamableHTTPSessionManager
    sessions: bool = True
    guest: Callable[[Headers, str], Caller] | None = None


class Gate:
    """An ASGI app: refuses, or hands over to the server with the caller set."""

    def __init__(self, endpoint: Endpoint, authenticator: Authenticator, watch: Watch) -> None:
        self.endpoint = endpoint
        self.authenticator = authenticator
        self.watch = watch
        self._base = (str(endpoint.needs.base),)
        self._lists = Lists()
        self._lasting = Lasting(authenticator, endpoint.audience)
        self._streams: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            try:
                passed = await self._pass(scope, receive)
            except LATER as error:  # while the caller was looked up or counted
                raise later(error) from error
            self._check_room(passed)
        except Refused as refusal:
            self.watch.refused(self.endpoint.domain, refusal)
            await refusal.answer(send)
            return
        except body.Gone:
            return
        who = passed.caller.actor.counted if passed.endless else ""
        self._streams[who] += 1
        try:
            await passed(send)
        finally:
            self._streams[who] -= 1
            if not self._streams[who]:
                del self._streams[who]

    def _check_room(self, passed: "Passage | _Listing") -> None:
        """A stream holds a connection, of which there are so many for everybody."""
        if passed.endless and self._streams[passed.caller.actor.counted] >= MOST_STREAMS:
            raise plain(
                429, "streams", f"{MOST_STREAMS} streams are open already.", retry_after="60"
            )

    async def _pass(self, scope: Scope, receive: Receive) -> "Passage | _Listing":
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        named = _headers_once(headers)
        if b"access_token=" in scope["query_string"]:
            raise self._malformed("A token never belongs in a URL; it may have leaked already.")
        if scope["method"] not in METHODS:
            raise plain(405, "method", "Use POST.", allow="POST, GET, DELETE")
        caller = await self._caller(headers, scope.get("client"))
        version = named.get(b"mcp-protocol-version")
        old_era = version is None or version.decode("latin-1") in HANDSHAKE_PROTOCOL_VERSIONS
        if scope["method"] != "POST":
            return await self._session_request(scope, receive, named, caller, old_era)
        _check_type(named)
        raw = await body.read(receive, named.get(b"content-length"))
        message = body.parse(raw)
        try:
            need = self.endpoint.needs.of(message, old_era=old_era)
        except Refused as unknown:
            raise (None if old_era else _disagreeing(message, named)) or unknown from None
        await self.watch.admit(self.endpoint.domain, caller, need)
        await self._authorize(caller, need)
        if old_era:
            self._check_session(message, named, caller)
        single = not old_era and not need.streams
        manager = self.endpoint.single if single else self.endpoint.streaming
        endless = need.target == "subscriptions/listen"
        passage = Passage(
            scope, _again(raw, receive), caller, manager, endless, self._lasting
        )  # fmt: skip
        if single and need.target in lists.METHODS and "id" in message:
            return _Listing(passage, self._lists, message, named)
        return passage

    async def _session_request(
        self, scope: Scope, receive: Receive, named: dict[bytes, bytes], caller: Caller,
        old_era: bool,
    ) -> "Passage":  # fmt: skip
        """GET opens a session's stream, DELETE ends it. Without a session there is nothing."""
        if not old_era or b"mcp-session-id" not in named or not self.endpoint.sessions:
            raise plain(405, "method", "Use POST; only a session has a stream.", allow="POST")
        need = Need(self._base, scope["method"])
        await self.watch.admit(self.endpoint.domain, caller, need)
        await self._authorize(caller, need)
        self._check_owner(named, caller)
        endless = scope["method"] == "GET"
        manager = self.endpoint.streaming
        return Passage(scope, receive, caller, manager, endless, self._lasting)

    def _check_session(
        self, message: dict[str, Any], named: dict[bytes, bytes], caller: Caller
    ) -> None:
        if not self.endpoint.sessions:
            return
        if b"mcp-session-id" in named:
            self._check_owner(named, caller, message.get("id"))
        elif message.get("method") != "initialize":
            raise protocol(
                400, INVALID_REQUEST, "no_session", "Bad Request: Missing session ID",
                message.get("id"),
            )  # fmt: skip

    def _check_owner(self, named: dict[bytes, bytes], caller: Caller, id: Any = None) -> None:
        """One answer for sessions that never were and for those of somebody else. A guest who
        signed in is somebody else."""
        session = named[b"mcp-session-id"].decode("latin-1")
        sessions = self.endpoint.streaming
        if isinstance(sessions, Sessions) and not sessions.owned(session, user_of(caller)):
            raise protocol(404, INVALID_REQUEST, "session", _NO_SESSION, id)

    # -- who, and whether they may ---------------------------------------------------------------

    async def _caller(self, headers: Headers, client: tuple[str, int] | None) -> Caller:
        endpoint = self.endpoint
        try:
            caller = await self.authenticator.authenticate(headers, audience=endpoint.audience)
        except CredentialsMalformed as error:
            raise self._malformed(str(error)) from None
        except CredentialsRefused as error:
            raise self._unauthorized(error.reason, "invalid_token", error.description) from None
        except IssuerUnavailable as error:
            raise plain(
                503, "issuer_unavailable", "The caller's keys cannot be checked now; try again.",
                retry_after=str(error.retry_after_s),
            ) from None  # fmt: skip
        if caller is None and endpoint.guest is not None:
            caller = endpoint.guest(headers, client[0] if client else "")
        if caller is None:
            raise self._unauthorized("no_credentials", "", "Sign in.")
        if caller.audience != endpoint.audience:
            raise self._unauthorized("audience", "invalid_token", "Not meant for this server.")
        return caller

    async def _authorize(self, caller: Caller, need: Need) -> None:
        held = granted(caller.actor.scopes)
        missing = [scope for scope in need.scopes if scope not in held]
        if not missing:
            return
        if caller.method == "guest":
            # Who signs in must not be able to do less than before.
            both = (*sorted(caller.actor.scopes), *need.scopes)
            raise self._unauthorized("guest", "", "Sign in.", tuple(dict.fromkeys(both)))
        await self.watch.denied(self.endpoint.domain, caller, need.target, missing)
        raise challenge(
            403, reason="insufficient_scope", error="insufficient_scope",
            description=_CHALLENGE_SAYS + " ".join(missing), scopes=need.scopes,
            metadata_url=self.endpoint.metadata_url,
        )  # fmt: skip

    def _unauthorized(
        self, reason: str, error: str, description: str, scopes: tuple[str, ...] = ()
    ) -> Refused:
        return challenge(
            401, reason=reason, error=error, description=description,
            scopes=scopes or self._base, metadata_url=self.endpoint.metadata_url,
        )  # fmt: skip

    def _malformed(self, description: str) -> Refused:
        return challenge(
            400, reason="malformed_credentials", error="invalid_request", description=description,
            scopes=self._base, metadata_url=self.endpoint.metadata_url,
        )  # fmt: skip


@dataclass(frozen=True)
class _Listing:
    """A request for a list."""

    passage: Passage
    lists: Lists
    message: dict[str, Any]
    named: dict[bytes, bytes]
    endless = False

    @property
    def caller(self) -> Caller:
        return self.passage.caller

    async def __call__(self, send: Send) -> None:
        await self.lists.answer(self.message, self.named, self.passage, send)


def _headers_once(headers: Headers) -> dict[bytes, bytes]:
    """Headers by name. Raises Refused for one given twice that must not be."""
    named: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in named:
            if name in _ROUTING:
                raise protocol(
                    400, HEADER_MISMATCH, "header_twice",
                    f"{name.decode('latin-1')} header appears more than once",
                )  # fmt: skip
            if name in _ONCE:
                raise plain(400, "header_twice", f"{name.decode('latin-1')} is given twice.")
        named.setdefault(name, value)
    return named


def _disagreeing(message: dict[str, Any], named: dict[bytes, bytes]) -> Refused | None:
    """What the server behind the gate would say first of headers that contradict the body."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in named.items()}
    found = classify_inbound_request(message, headers=headers)
    if not isinstance(found, InboundLadderRejection):
        return None
    status = ERROR_CODE_HTTP_STATUS.get(found.code, 400)
    refusal = protocol(status, found.code, "headers", found.message, message.get("id"))
    if found.data is not None:
        refusal.body["error"]["data"] = found.data
    return refusal


def _check_type(named: dict[bytes, bytes]) -> None:
    kind, _, parameters = named.get(b"content-type", b"").lower().partition(b";")
    if kind.strip() != b"application/json":
        raise plain(400, "content_type", "Content-Type must be application/json.")
    charset = parameters.strip().replace(b'"', b"")
    if charset and charset not in (b"charset=utf-8", b"charset=utf8"):
        raise plain(400, "content_type", "JSON is UTF-8.")
    if named.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
        raise plain(415, "content_encoding", "Send the body as it is.", accept_encoding="identity")


def _again(raw: bytes, receive: Receive) -> Receive:
    """The body once more, for the server behind the gate; after it, whatever the client does."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": raw, "more_body": False}

    return replay
