"""shop deny: access tokens taken back before they expire, of any issuer."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from clients.commands.common import Json, person, recorded, say_json, table, with_shop
from common.auth import revocation
from common.auth.issuers import trusted
from common.call import Call
from common.clock import stamp, utc_now
from common.errors import InvalidParameters
from common.shop import Shop
from common.tables.auth_tokens import AuthDenial

MOST_LISTED = 1_000
Issuer = Annotated[str, typer.Option(help="Whose tokens; needed where several are trusted.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
RULES: dict[str, Callable[..., AuthDenial]] = {
    "token": revocation.deny_token,
    "person": revocation.deny_subject,
    "client": revocation.deny_client,
}


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="Take access tokens back.", no_args_is_help=True)
    group.command("token")(token)
    group.command("person")(subject)
    group.command("client")(client)
    group.command("list")(list_all)
    app.add_typer(group, name="deny")


def token(
    jti: Annotated[str, typer.Argument(help="The token's id: its jti.")],
    issuer: Issuer = "",
    reason: Reason = "",
) -> None:
    """Refuse one token from now on."""
    _deny("token", jti, issuer, reason)


def subject(
    subject: Annotated[str, typer.Argument(help="The person's sub, as their tokens name them.")],
    issuer: Issuer = "",
    reason: Reason = "",
) -> None:
    """Refuse every token a person was issued until now."""
    _deny("person", subject, issuer, reason)


def client(
    client_id: Annotated[str, typer.Argument(help="The program's client_id.")],
    issuer: Issuer = "",
    reason: Reason = "",
) -> None:
    """Refuse every token a program was issued until now."""
    _deny("client", client_id, issuer, reason)


def list_all(as_json: Json = False) -> None:
    """List what is denied now."""

    async def work(shop: Shop) -> list[AuthDenial]:
        now = utc_now()

        def read(session: Session) -> list[AuthDenial]:
            query = select(AuthDenial).where(AuthDenial.until >= now).order_by(AuthDenial.at)
            return list(session.scalars(query.limit(MOST_LISTED)))

        return await shop.database.run("*", read, write=False)

    found = with_shop(work)
    if as_json:
        say_json([
            {
                "kind": row.kind, "issuer": row.issuer, "value": row.value,
                "issued_until": stamp(row.before), "until": stamp(row.until),
                "reason": row.reason, "by": row.denied_by,
            }
            for row in found
        ])  # fmt: skip
    else:
        rows = [
            [row.kind, row.value, row.issuer, stamp(row.until), row.denied_by, row.reason]
            for row in found
        ]
        table("Denied", ["kind", "what", "issuer", "until", "by", "reason"], rows, whole=["what"])


def _deny(kind: str, value: str, issuer: str, reason: str) -> None:
    async def work(shop: Shop) -> datetime:
        of = _issuer(shop, issuer)
        operator = shop.settings.operator

        def denied(call: Call) -> datetime:
            row = RULES[kind](call.session, call.now, of, value, reason=reason, by=operator)
            call.effect("deny", f"auth_{row.kind}", row.id)
            return row.until

        return await recorded(shop, person(operator), f"deny_{kind}", denied)

    until = with_shop(work)
    typer.echo(f"Denied, and forgotten after {stamp(until)}, when every such token has expired.")


def _issuer(shop: Shop, named: str) -> str:
    """The issuer meant. Raises InvalidParameters."""
    known = [each.url for each in trusted(shop.settings.http)]
    if named in known:
        return named
    if not named and len(known) == 1:
        return known[0]
    raise InvalidParameters.field("issuer", named, f"one of {', '.join(known) or 'none'}")
