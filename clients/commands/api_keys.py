"""shop api-key: keys for programs that cannot sign in."""

from typing import Annotated, Any

import typer

from clients.commands.common import Json, person, recorded, say_json, table, with_shop
from common.auth import api_keys
from common.auth.api_keys import Owner
from common.auth.api_keys.http import shown
from common.auth.server import users
from common.call import Call
from common.shop import Shop

Id = Annotated[str, typer.Argument(help="The key's id (apk_…).")]
LISTED = 1_000


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="Keys for programs that cannot sign in.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("revoke")(revoke)
    group.command("delete")(delete)
    app.add_typer(group, name="api-key")


def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    owner: Annotated[str, typer.Option("--for", help="The user it acts for, by subject.")],
    scopes: Annotated[
        str, typer.Option(help="By spaces. Default: reading, and filling a cart.")
    ] = "",
    days: Annotated[
        int | None,
        typer.Option(min=1, max=api_keys.LONGEST_DAYS, help="For how many days; default: no end."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key for a user. It is shown this once."""

    async def work(shop: Shop) -> dict[str, Any]:
        def made(call: Call) -> dict[str, Any]:
            user, http = users.get(call.session, owner), shop.settings.http
            key, secret = api_keys.create(
                call.session, http, Owner(http.public_url, user.subject), name, user.scopes,
                call.now, scopes=scopes.split() or None, days=days,
            )  # fmt: skip
            call.effect("create", "api_key", key.id, scopes=key.scopes, subject=user.subject)
            return shown(key) | {"key": secret}

        return await recorded(shop, person(shop.settings.operator), "api_key_create", made)

    made = with_shop(work)
    if as_json:
        say_json(made)
    else:
        typer.echo(f"{made['id']}  {made['key']}   (it is not shown again)")


def list_all(
    owner: Annotated[str, typer.Option("--of", help="Only this user's, by subject.")] = "",
    as_json: Json = False,
) -> None:
    """List keys, without the keys themselves."""

    async def work(shop: Shop) -> list[dict[str, Any]]:
        whose = Owner(shop.settings.http.public_url, users.spelled(owner)) if owner else None
        rows, _ = await shop.database.run(
            "*", lambda s: api_keys.listed(s, whose, None, LISTED), write=False
        )
        return [shown(key) | {"owner": key.subject, "issuer": key.issuer} for key in rows]

    found = with_shop(work)
    if as_json:
        say_json(found)
        return
    columns = ["id", "name", "hint", "owner", "createdAt", "lastUsedAt", "expiresAt", "revokedAt"]
    table("API keys", columns, [[str(key[c] or "") for c in columns] for key in found])


def revoke(key_id: Id) -> None:
    """Make a key useless; it stays in the list."""

    async def work(shop: Shop) -> None:
        def revoked(call: Call) -> None:
            key = api_keys.revoke(call.session, None, key_id, call.now)
            call.effect("revoke", "api_key", key.id)

        await recorded(shop, person(shop.settings.operator), "api_key_revoke", revoked)

    with_shop(work)
    typer.echo(f"{key_id} is of no use any more.")


def delete(key_id: Id) -> None:
    """Make a key useless and take it off the list."""

    async def work(shop: Shop) -> None:
        def deleted(call: Call) -> None:
            key = api_keys.remove(call.session, None, key_id)
            call.effect("delete", "api_key", key.id)

        await recorded(shop, person(shop.settings.operator), "api_key_delete", deleted)

    with_shop(work)
    typer.echo(f"{key_id} is deleted.")
