"""shop user: who may sign in at the shop's own authorization server."""

import asyncio
from collections.abc import Iterable
from typing import Annotated

import segno
import typer

from clients.commands.common import Json, person, recorded, say_json, table, with_shop
from clients.commands.secrets import ask_passphrase
from common.auth.server import users
from common.call import Call
from common.clock import stamp, utc_now
from common.errors import InvalidParameters
from common.scopes import Scope
from common.shop import Shop
from common.tables.auth_server import AuthUser

Subject = Annotated[str, typer.Argument(help="Who: a subject such as an e-mail address.")]
Scopes = Annotated[
    str | None,
    typer.Option("--scopes", help="The most they may hold, by spaces. Default: all but decide"),
]
Decide = Annotated[bool, typer.Option("--decide", help="Also approvals:decide, for the console.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="People who sign in at the shop itself.", no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_all)
    group.command("passwd")(passwd)
    group.command("totp")(totp)
    group.command("scopes")(scopes_of)
    group.command("email")(email_of)
    group.command("disable")(disable)
    group.command("enable")(enable)
    app.add_typer(group, name="user")


def add(
    subject: Subject,
    name: Annotated[str, typer.Option(help="How they are called.")] = "",
    scopes: Scopes = None,
    decide: Decide = False,
    email: Annotated[str, typer.Option(help="Theirs for certain: tokens call it verified.")] = "",
) -> None:
    """Add a person. Their password is typed at the terminal."""

    async def work(shop: Shop) -> AuthUser:
        kept = await _new_password(subject)
        held = _scopes(users.USUAL_SCOPES if scopes is None else scopes.split(), decide)

        def added(call: Call) -> AuthUser:
            user = users.add(
                call.session, subject, name or subject, kept, held, call.now,
                email=email,
            )  # fmt: skip
            call.effect("create", "auth_user", user.id, subject=user.subject, scopes=user.scopes)
            return user

        return await recorded(shop, person(shop.settings.operator), "user_add", added)

    typer.echo(f"{with_shop(work, makes=True).subject} may sign in.")


def list_all(as_json: Json = False) -> None:
    """List the people who may sign in."""

    async def work(shop: Shop) -> list[AuthUser]:
        return await shop.database.run("*", users.everyone, write=False)

    found = with_shop(work)
    if as_json:
        say_json([
            {
                "subject": user.subject, "name": user.name, "email": user.email,
                "scopes": user.scopes,
                "totp": user.totp is not None, "created_at": stamp(user.created_at),
                "disabled_at": stamp(user.disabled_at) if user.disabled_at else None,
            }
            for user in found
        ])  # fmt: skip
    elif not found:
        typer.echo("Nobody yet: shop user add SUBJECT")
    else:
        rows = [
            [
                user.subject, user.name, "yes" if user.totp else "no",
                stamp(user.disabled_at) if user.disabled_at else "", " ".join(user.scopes),
            ]
            for user in found
        ]  # fmt: skip
        table(
            "Users",
            ["subject", "name", "one-time codes", "disabled", "scopes"],
            rows,
            whole=["subject"],
        )


def passwd(subject: Subject) -> None:
    """Set a new password. Signs the person out everywhere and ends what they allowed."""

    async def work(shop: Shop) -> None:
        await shop.database.run("*", lambda s: users.get(s, subject), write=False)
        kept = await _new_password(subject)

        def changed(call: Call) -> None:
            user = users.get(call.session, subject)
            users.set_password(call.session, shop.settings, user, kept, call.now)
            call.effect("password", "auth_user", user.id)

        await recorded(shop, person(shop.settings.operator), "user_passwd", changed)

    with_shop(work)
    typer.echo("The password is changed.")


def totp(
    subject: Subject,
    off: Annotated[bool, typer.Option("--off", help="Ask for no one-time code any more.")] = False,
) -> None:
    """Ask for one-time codes at every sign-in. Shows a code for the authenticator app once."""

    async def work(shop: Shop) -> None:
        user = await shop.database.run("*", lambda s: users.get(s, subject), write=False)
        secret = None if off else users.new_totp()
        if secret is not None:
            uri = users.totp_uri(secret, user.subject, "shop")
            segno.make(uri).terminal(compact=True)
            typer.echo(f"Scan it with an authenticator app, or type the secret: {secret}")
            typed = typer.prompt("The code it shows")
            if not users.code_is_right(secret, typed, utc_now()):
                raise InvalidParameters("The code does not match; nothing was changed.")

        def changed(call: Call) -> None:
            found = users.get(call.session, subject)
            users.set_totp(shop.settings, found, secret, call.now)
            call.effect("totp_off" if off else "totp_on", "auth_user", found.id)

        await recorded(shop, person(shop.settings.operator), "user_totp", changed)

    with_shop(work)
    typer.echo("No one-time code is asked for." if off else "One-time codes are asked for.")


def scopes_of(
    subject: Subject,
    scopes: Annotated[
        str, typer.Argument(help='The most they may hold, by spaces; "" takes all away.')
    ],
    decide: Decide = False,
) -> None:
    """Set what a person may hold at most. Takes effect with their next token."""

    async def work(shop: Shop) -> list[str]:
        def changed(call: Call) -> list[str]:
            user = users.get(call.session, subject)
            users.set_scopes(user, _scopes(scopes.split(), decide), call.now)
            call.effect("scopes", "auth_user", user.id, scopes=user.scopes)
            return user.scopes

        return await recorded(shop, person(shop.settings.operator), "user_scopes", changed)

    typer.echo(f"{subject}: {' '.join(with_shop(work)) or 'nothing'}")


def email_of(
    subject: Subject,
    email: Annotated[str, typer.Argument(help="Theirs for certain; none: without one.")] = "",
) -> None:
    """Set the address that tokens for the storefront carry as verified.

    By it a shopper who signs in for the first time finds what they bought before.
    """

    async def work(shop: Shop) -> None:
        def changed(call: Call) -> None:
            user = users.get(call.session, subject)
            users.set_email(user, email, call.now)
            call.effect("email", "auth_user", user.id)

        await recorded(shop, person(shop.settings.operator), "user_email", changed)

    with_shop(work)
    typer.echo("The address is kept." if email else "No address is kept.")


def disable(subject: Subject) -> None:
    """Let a person in no more: signs out, revokes, and their API keys stop."""

    async def work(shop: Shop) -> None:
        def changed(call: Call) -> None:
            user = users.get(call.session, subject)
            users.disable(call.session, shop.settings, user, call.now)
            call.effect("disable", "auth_user", user.id)

        await recorded(shop, person(shop.settings.operator), "user_disable", changed)

    with_shop(work)
    typer.echo(f"{subject} may no longer sign in.")


def enable(subject: Subject) -> None:
    """Let a disabled person in again."""

    async def work(shop: Shop) -> None:
        def changed(call: Call) -> None:
            user = users.get(call.session, subject)
            users.enable(call.session, user)
            call.effect("enable", "auth_user", user.id)

        await recorded(shop, person(shop.settings.operator), "user_enable", changed)

    with_shop(work)
    typer.echo(f"{subject} may sign in again.")


def _scopes(scopes: Iterable[str], decide: bool) -> list[str]:
    return [*scopes, *([str(Scope.APPROVALS_DECIDE)] if decide else [])]


async def _new_password(subject: str) -> str:
    password = ask_passphrase(f"New password of {subject} (12 characters or more): ")
    if password != ask_passphrase("Once more: "):
        raise InvalidParameters("The two passwords differ.")
    users.check_password(password, subject)
    return await asyncio.to_thread(users.hashed, password)
