"""What every page of the console needs, put together once a process."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from jinja2 import Environment
from starlette.datastructures import Headers
from starlette.requests import Request

from common.approvals.looking import approver_of
from common.audit.records import Ration
from common.auth import Authenticator, Caller
from common.auth.jwks import Metadata
from common.call import Actor
from common.http.console.rendering import environment
from common.scopes import Scope
from common.shop import Shop
from common.tables.spine import Approver

CLIENT_ID: Final = "shop-console"
PREFIX: Final = "/console"
SERVER: Final = "console"
SCOPE: Final = str(Scope.APPROVALS_DECIDE)
RECENT: Final = timedelta(minutes=10)
MOST_WAITING: Final = 64


@dataclass
class Desk:
    """Shared by the pages; holds no state of a person."""

    shop: Shop
    authenticator: Authenticator
    templates: Environment = field(default_factory=environment)
    metadata: dict[str, Metadata] = field(default_factory=dict)
    ration: Ration = field(default_factory=Ration)
    waiting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_WAITING))
    unlocking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    verifying: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def origin(self) -> str:
        return self.shop.settings.http.public_url

    @property
    def audience(self) -> str:
        return self.origin + PREFIX

    @property
    def secure(self) -> bool:
        return self.origin.startswith("https://")

    def now(self) -> datetime:
        return self.shop.guard.clock()

    @property
    def version(self) -> str:
        return self.shop.guard.version


@dataclass(frozen=True)
class Visitor:
    """Who is signed in on this request. ``csrf`` belongs to the session; forms carry it."""

    session_id: str
    csrf: str
    caller: Caller
    opened_at: datetime
    expires_at: datetime

    @property
    def actor(self) -> Actor:
        return self.caller.actor

    def recent(self, now: datetime) -> bool:
        """Whether they proved who they are within the last ten minutes."""
        signed_in = self.caller.auth_time
        age = now.timestamp() - signed_in
        return bool(signed_in) and age <= RECENT.total_seconds()


class Problem(Exception):
    """A page in place of the one asked for."""

    def __init__(
        self,
        status: int,
        title: str,
        message: str,
        *,
        next: str = "",
        link: tuple[str, str] = (PREFIX, "Back to the inbox"),
        headers: dict[str, str] | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.title, self.message, self.next = status, title, message, next
        self.link, self.headers, self.reason = link, headers or {}, reason


async def approver(desk: Desk, visitor: Visitor) -> Approver | None:
    """The visitor's enrolment."""
    return await desk.shop.database.run(
        "*", lambda session: approver_of(session, visitor.actor), write=False
    )


def query_of(request: Request, *names: str, longest: int = 200) -> dict[str, str]:
    """Named query parameters, each once, trimmed and cut."""
    found: dict[str, str] = {}
    for name in names:
        values: Sequence[str] = request.query_params.getlist(name)
        found[name] = values[0].strip()[:longest] if len(values) == 1 else ""
    return found


def credentials(token: str) -> list[tuple[bytes, bytes]]:
    """A bearer token as the authenticator reads it."""
    headers: Any = Headers({"authorization": f"Bearer {token}"}).raw
    return list(headers)
