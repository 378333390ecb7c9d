"""RFC 9728: what a client is told about a server before it has a token."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.scopes import Scope
from common.settings import HttpSettings
from common.toolset import Toolset

PREFIX: Final = "/.well-known/oauth-protected-resource"


def base_scope(domain: str) -> Scope:
    """What every request to a server needs: to read there."""
    return Scope(f"{domain}:read")


def url(http: HttpSettings, domain: str) -> str:
    """Where the metadata of a server is."""
    return f"{http.public_url}{PREFIX}/{domain}/mcp"


def document(http: HttpSettings, toolset: Toolset, issuers: Sequence[str]) -> dict[str, Any]:
    """Issuers stand exactly as trusted: clients compare them letter by letter. Only the read scope
    is named; what a tool needs beyond it is asked for when it is called."""
    return {
        "resource": http.audience(toolset.domain),
        "resource_name": f"{toolset.title} ({toolset.domain})",
        "authorization_servers": list(issuers),
        "scopes_supported": [str(base_scope(toolset.domain))],
        "bearer_methods_supported": ["header"],
    }


def route(http: HttpSettings, toolset: Toolset, issuers: Sequence[str]) -> Route:
    """The well-known path of one server, open to everybody."""
    content = document(http, toolset, issuers)
    headers = {"cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}

    async def metadata(request: Request) -> Response:
        return JSONResponse(content, headers=headers)

    return Route(f"{PREFIX}/{toolset.domain}/mcp", metadata, methods=["GET"])
