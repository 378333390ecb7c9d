"""Waiting for something to change, and the console's two files."""

import asyncio
import hashlib
import re
from functools import cache
from typing import Final

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from common.approvals import looking
from common.audit import browse
from common.http.console import sessions, web
from common.http.console.desk import Desk, Problem, query_of
from common.http.console.rendering import HERE
from common.widgets import LOOK

WAIT_S: Final = 15.0
EVERY_S: Final = 1.0
_TYPES: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_TOPIC = re.compile(r"approvals|audit|[a-z]{2,8}_[A-Za-z0-9]{1,60}")


async def changes(desk: Desk, request: Request) -> Response:
    """Answers when the page's mark is no longer true, or after a quarter of a minute."""
    if await sessions.visitor(desk, request) is None:
        return JSONResponse({"mark": ""}, 401)
    wanted = query_of(request, "on", "mark")
    if not _TOPIC.fullmatch(wanted["on"]):
        return JSONResponse({"mark": ""}, 400)
    if desk.waiting.locked():
        return JSONResponse({"mark": ""}, 503, headers={"Retry-After": "30"})
    async with desk.waiting:
        for _ in range(int(WAIT_S / EVERY_S)):
            mark = await _mark(desk, wanted["on"])
            if mark != wanted["mark"] or request.method == "HEAD":
                break
            if await request.is_disconnected():
                break
            await asyncio.sleep(EVERY_S)
    return JSONResponse({"mark": mark})


async def static(desk: Desk, request: Request) -> Response:
    """A file of the console, by the name it has and what is in it."""
    name = request.path_params["name"]
    if name not in _TYPES:
        return web.problem_page(desk, Problem(404, "Not found", "There is no such file."))
    body, tag = _file(name)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=_TYPES[name], headers=headers)


async def _mark(desk: Desk, topic: str) -> str:
    def work(session: Session) -> str:
        if topic == "audit":
            return str(browse.length(session))
        return looking.mark(session, "" if topic == "approvals" else topic)

    return await desk.shop.database.run("*", work, write=False)


@cache
def _file(name: str) -> tuple[bytes, str]:
    body = (HERE / "static" / name).read_bytes()
    if name == "console.css":
        body = LOOK.read_bytes() + body
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
