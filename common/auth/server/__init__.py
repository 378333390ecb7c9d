"""The small authorization server: OAuth 2.1 for one shop, for development and for small use.

``routes`` is all that the HTTP face needs. State is in the database, so any worker answers any
request; ``keys`` tells a verifier in the same process what to verify with.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from common.auth.server import endpoints, pages
from common.auth.server.answering import later, stranger, stylesheet, too_many
from common.auth.server.documents import Documents
from common.auth.server.keys import local_jwks
from common.errors import LATER, RateLimited
from common.settings import LOOPBACK, HttpSettings
from common.shop import Shop

Handler = Callable[[Request, Shop, Documents], Awaitable[Response]]
PAGES: Final = (pages.authorize, pages.login, pages.consent, pages.logout)


class IssuerRefused(ValueError):
    """Tokens and passwords would cross a network in the clear."""


def routes(shop: Shop) -> list[BaseRoute]:
    """Every route of the server; none where it is not to run. Raises IssuerRefused."""
    if not shop.settings.http.auth_server:
        return []
    check_issuer(shop.settings.http)
    documents = Documents(shop.settings.http)

    def route(path: str, handler: Handler, *methods: str) -> Route:
        async def answered(request: Request) -> Response:
            try:
                if path.startswith("/auth/") and path != "/auth/jwks":
                    await shop.guard.limits.take(stranger(request), "requests")
                return await handler(request, shop, documents)
            except RateLimited as error:
                return too_many(error)
            except LATER as error:
                return later(error, person=handler in PAGES)

        return Route(path, answered, methods=[*methods])

    return [
        route("/.well-known/oauth-authorization-server", endpoints.published, "GET"),
        route("/auth/jwks", endpoints.jwks, "GET"),
        route("/auth/authorize", pages.authorize, "GET"),
        route("/auth/login", pages.login, "POST"),
        route("/auth/consent", pages.consent, "POST"),
        route("/auth/logout", pages.logout, "POST"),
        route("/auth/token", endpoints.token, "POST"),
        route("/auth/revoke", endpoints.revoke, "POST"),
        route("/auth/introspect", endpoints.introspect, "POST"),
        route("/auth/register", endpoints.register, "POST"),
        Route("/auth/style.css", _style, methods=["GET"]),
    ]


def check_issuer(http: HttpSettings) -> None:
    """http only where nothing leaves the machine. Raises IssuerRefused."""
    parts = urlsplit(http.public_url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise IssuerRefused(
            f"The authorization server does not run at {http.public_url}: off loopback its URL must"
            " begin with https. Set SHOP_PUBLIC_URL to it, and SHOP_TLS=terminated where a proxy"
            " speaks TLS."
        )


async def _style(request: Request) -> Response:
    return stylesheet()


__all__ = ["IssuerRefused", "check_issuer", "local_jwks", "routes"]
