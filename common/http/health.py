"""Whether the process lives, and whether it can do its work."""

import asyncio
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from common.shop import Shop

PATIENCE_S: Final = 3
NEVER_KEPT: Final = {"cache-control": "no-store"}


def routes(shop: Shop) -> list[BaseRoute]:
    """``/healthz`` answers while the process answers; ``/readyz`` asks the database as well."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=NEVER_KEPT)

    async def readyz(request: Request) -> Response:
        checks = {"database": await _database(shop)}
        ready = all(checks.values())
        body = {"status": "ready" if ready else "not ready", "checks": checks}
        return JSONResponse(body, 200 if ready else 503, headers=NEVER_KEPT)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


async def _database(shop: Shop) -> bool:
    def ask(session: Session) -> bool:
        return session.execute(text("SELECT 1")).scalar() == 1

    try:
        async with asyncio.timeout(PATIENCE_S):
            return await shop.database.run("*", ask, write=False)
    except Exception:
        return False
