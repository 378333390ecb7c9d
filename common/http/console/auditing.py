"""The audit log: a browser with filters, one record, and a button that verifies all of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from common.audit import browse, chain, outside, verify
from common.call import Call
from common.errors import InvalidParameters
from common.http.console import counting, web
from common.http.console.desk import SERVER, Desk, Problem, Visitor, query_of
from common.keys import KeyUnusable, read_public_key
from common.settings import Settings
from common.storage.database import Database

PAGE: Final = 50
VERIFY_S: Final = 60.0
VERIFIES: Final = 6
OUTCOMES: Final = tuple(sorted(chain.OUTCOMES))
_NAMES: Final = ("since", "until", "server", "tool", "outcome", "actor", "id")


async def log(desk: Desk, request: Request, visitor: Visitor) -> Response:
    """The newest records, or those that match."""
    wanted = query_of(request, *_NAMES, "cursor")
    cursor, mistake = wanted.pop("cursor") or None, ""
    try:
        filters = _filters(wanted)
    except InvalidParameters as error:
        filters, mistake = browse.Filters(), error.message

    def work(session: Session) -> dict[str, Any]:
        found = browse.records(session, filters, cursor, PAGE)
        return {"found": found, "mark": str(browse.length(session))}

    values = await desk.shop.database.run("*", work, write=False)
    desk.shop.access.note(
        now=desk.now(), server=SERVER, target="audit", actor=visitor.actor, outcome="ok",
        args=wanted,
    )  # fmt: skip
    kept = urlencode({name: value for name, value in wanted.items() if value})
    return web.shown(
        desk, "audit.html", visitor, here="audit", wanted=wanted, kept=kept, mistake=mistake,
        outcomes=OUTCOMES, filtered=filters.any, first=cursor is None, **values,
    )  # fmt: skip


async def one(desk: Desk, request: Request, visitor: Visitor) -> Response:
    """One record as it is chained."""
    id = request.path_params["id"]
    found = await desk.shop.database.run("*", lambda s: browse.record(s, id), write=False)
    if found is None:
        raise Problem(404, "Not found", "There is no such record.")
    desk.shop.access.note(
        now=desk.now(), server=SERVER, target="audit record", actor=visitor.actor, outcome="ok",
        args={"id": id},
    )  # fmt: skip
    try:
        sound = chain.link(found.chain, found.seq, found.prev, found.record) == found.h
    except (ValueError, OverflowError):
        sound = False
    return web.shown(desk, "record.html", visitor, here="audit", found=found, sound=sound)


async def check(desk: Desk, request: Request, visitor: Visitor, form: web.Form) -> Response:
    """Verify the whole log, one check at a time, for a minute at most."""
    await desk.shop.database.run(
        "*", lambda s: counting.take(s, "verify", VERIFIES, timedelta(minutes=1), desk.now())
    )
    if desk.verifying.locked():
        raise Problem(
            429, "Already at it", "The log is being verified at this moment.",
            next="Try again in a minute.", link=("/console/audit", "Back to the log"),
            headers={"Retry-After": "60"},
        )  # fmt: skip
    async with desk.verifying:
        started = desk.now()
        report = await asyncio.to_thread(_verified, desk.shop.settings)

    def work(call: Call) -> None:
        call.effect("verify", "audit_log", "", exit=report.exit_code, checked=report.checked)

    await outside.recorded(
        desk.shop.database, desk.now, visitor.actor, SERVER, "audit_verify", desk.version, work
    )
    return web.shown(desk, "verified.html", visitor, here="audit", report=report, started=started)


def _verified(settings: Settings) -> verify.Report:
    """In a thread with a connection of its own: nobody else's transaction waits for this one."""
    try:
        public = read_public_key(settings.key_dir / "anchor.pub")
    except KeyUnusable:
        public = None

    async def run() -> verify.Report:
        database = Database(
            settings.database_url, roles=settings.database_roles, pool=1,
            read_only=settings.database_url.startswith("sqlite"),
        )  # fmt: skip
        try:
            return await database.run(
                "*",
                lambda s: verify.verify(s, settings.anchor_file, public, seconds=VERIFY_S),
                write=False,
            )
        finally:
            await database.close()

    return asyncio.run(run())


def _filters(wanted: dict[str, str]) -> browse.Filters:
    return browse.Filters(
        since=_moment("since", wanted["since"]),
        until=_moment("until", wanted["until"]),
        **{name: wanted[name] for name in ("server", "tool", "outcome", "actor", "id")},
    )


def _moment(field: str, text: str) -> datetime | None:
    """``2026-11-02T09:00`` as UTC, as a browser's field gives it."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameters.field(field, text, "a date and a time, UTC") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
