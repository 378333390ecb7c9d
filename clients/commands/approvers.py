"""shop approver: who may decide."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.commands.common import (
    Json,
    person,
    recorded,
    refusal_recorded,
    say_json,
    table,
    with_shop,
)
from clients.commands.secrets import ask_passphrase
from common.approvals import approvers
from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters, ShopError
from common.shop import Shop
from common.tables.spine import Approver

T = TypeVar("T")
Subject = Annotated[str, typer.Argument(help="Who: a subject such as an e-mail address.")]
By = Annotated[str, typer.Option("--by", help="An approver who vouches, by subject.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="People who may decide approvals.", no_args_is_help=True)
    group.command("enroll")(enroll)
    group.command("list")(list_all)
    group.command("revoke")(revoke)
    app.add_typer(group, name="approver")


def enroll(
    subject: Subject, name: Annotated[str, typer.Option(help="How they are called.")] = "",
    by: By = "",
) -> None:  # fmt: skip
    """Enroll a person. The first needs nobody; every other needs one who is enrolled already.

    The passphrase is stored nowhere: it derives the key whose public half is kept.
    """

    async def work(shop: Shop) -> Approver:
        voucher = await _voucher(shop, by)
        passphrase = ask_passphrase(f"New passphrase of {subject} (12 characters or more): ")
        if passphrase != ask_passphrase("Once more: "):
            raise InvalidParameters("The two passphrases differ.")

        def added(call: Call) -> Approver:
            approver = approvers.enroll(
                call.session, subject, name or subject, passphrase, by, call.now, voucher=voucher
            )
            call.effect("enroll", "approver", approver.id, by=by)
            return approver

        return await recorded(shop, person(by or subject), "approver_enroll", added)

    async def on_record(shop: Shop) -> Approver:
        return await _refusals_recorded(shop, by or subject, "approver_enroll", work)

    typer.echo(f"{with_shop(on_record, makes=True).subject} may now decide approvals.")


def list_all(as_json: Json = False) -> None:
    """List the people who may decide."""

    async def work(shop: Shop) -> list[Approver]:
        return await shop.database.run("*", approvers.active, write=False)

    found = with_shop(work)
    if as_json:
        say_json(
            [{"subject": a.subject, "name": a.name, "enrolled_by": a.enrolled_by} for a in found]
        )
    elif not found:
        typer.echo(
            "Nobody yet, so nothing above level 1 can be approved: shop approver enroll SUBJECT"
        )
    else:
        rows = [[a.subject, a.name, a.enrolled_by, stamp(a.enrolled_at)] for a in found]
        table("Approvers", ["subject", "name", "enrolled by", "since"], rows, whole=["subject"])


def revoke(subject: Subject, by: By) -> None:
    """Take the right to decide away from a person, at once."""

    async def work(shop: Shop) -> None:
        voucher = await _voucher(shop, by)
        assert voucher is not None

        def revoked(call: Call) -> None:
            approver = approvers.revoke(call.session, subject, by, call.now, voucher=voucher)
            call.effect("revoke", "approver", approver.id, by=by)

        await recorded(shop, person(by), "approver_revoke", revoked)

    async def on_record(shop: Shop) -> None:
        await _refusals_recorded(shop, by, "approver_revoke", work)

    with_shop(on_record)
    typer.echo(f"{subject} may no longer decide.")


async def _refusals_recorded(
    shop: Shop, subject: str, tool: str, work: Callable[[Shop], Coroutine[Any, Any, T]]
) -> T:
    try:
        return await work(shop)
    except ShopError as error:
        await refusal_recorded(shop, person(subject), tool, error)
        raise


async def _voucher(shop: Shop, by: str) -> Ed25519PrivateKey | None:
    if not by:
        return None
    approver = await shop.database.run("*", lambda s: approvers.find(s, by), write=False)
    return approvers.unlock(approver, ask_passphrase(f"Passphrase of {by}, who vouches: "))
