"""What the authenticator asks: is this key good, is this password right?"""

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy.orm import Session

from common.auth import Caller
from common.auth.api_keys import Verified, used, verify
from common.auth.server import signing_in
from common.auth.server.users import find
from common.call import Actor
from common.errors import NotAuthenticated, RateLimited
from common.scopes import Scope, granted
from common.shop import Shop
from common.tables.auth_server import AuthUser

BASIC_SECONDS: Final = 60
MOST_REMEMBERED: Final = 256


def key_check(shop: Shop) -> Callable[[str, str], Awaitable[Caller | None]]:
    """Key and audience to the caller; None for a key that is not good."""

    async def check(secret: str, audience: str) -> Caller | None:
        http, now = shop.settings.http, shop.guard.clock()

        def look(session: Session) -> Verified | None:
            return verify(session, http, secret, now)

        found = await shop.database.run("*", look, write=False)
        if found is None:
            return None
        if found.stale and not shop.settings.read_only:
            await shop.database.run("*", lambda session: used(session, found.key_id, now))
        dies = int(found.expires_at.timestamp()) if found.expires_at else 0
        return Caller(found.actor, "api_key", audience, dies, found.key_id)

    return check


def password_check(shop: Shop) -> Callable[[str, str, str], Awaitable[Caller | None]]:
    """Name, password and audience to the caller: for development, as ``X-MCP-Auth`` has it.

    Somebody with one-time codes cannot come in this way. Nobody decides this way. A password that
    was right is right for as long as the user's row stays as it was: every request sends it.
    """
    known: OrderedDict[bytes, str] = OrderedDict()
    pepper, one_at_a_time = secrets.token_bytes(32), asyncio.Lock()

    async def check(name: str, password: str, audience: str) -> Caller | None:
        sent = f"{name}\0{password}".encode("utf-8", "replace")
        digest = hmac.digest(pepper, sent, "sha256")
        async with one_at_a_time:
            user = await _remembered(shop, name, known.get(digest))
            if user is None:
                try:
                    user, _ = await signing_in.check(
                        shop, name, password, "", "X-MCP-Auth", "basic"
                    )
                except (NotAuthenticated, RateLimited):
                    return None
                known[digest] = user.password
                while len(known) > MOST_REMEMBERED:
                    known.popitem(last=False)
        scopes = granted(frozenset(user.scopes)) - {str(Scope.APPROVALS_DECIDE)}
        actor = Actor(shop.settings.http.public_url, user.subject, "basic", scopes)
        moment = int(shop.guard.clock().timestamp())
        return Caller(actor, "basic", audience, moment + BASIC_SECONDS, "", moment)

    return check


async def _remembered(shop: Shop, name: str, kept: str | None) -> AuthUser | None:
    if kept is None:
        return None
    user = await shop.database.run("*", lambda session: find(session, name), write=False)
    same = user is not None and user.password == kept and user.disabled_at is None
    return user if same and user is not None and user.totp is None else None
