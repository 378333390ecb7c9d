"""shop client · shop auth: programs that may ask for tokens, and the keys that sign them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.commands.common import Json, person, recorded, say_json, table, with_shop
from common.auth.server import keys, managing
from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters
from common.shop import Shop
from common.tables.auth_server import AuthClient, AuthKey


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="Programs that may ask for tokens.", no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_all)
    group.command("revoke")(revoke)
    group.command("registration-token")(registration_token)
    app.add_typer(group, name="client")
    server = typer.Typer(help="The shop's own authorization server.", no_args_is_help=True)
    server.command("rotate-keys")(rotate_keys)
    server.command("keys")(list_keys)
    app.add_typer(server, name="auth")


def add(
    name: Annotated[str, typer.Argument(help="How people will know it.")],
    redirect: Annotated[
        list[str] | None, typer.Option(help="Where people are sent back to; can be repeated.")
    ] = None,
    scopes: Annotated[
        str, typer.Option(help="By spaces: its own, or the most a person may give it.")
    ] = "",
    public: Annotated[bool, typer.Option(help="It cannot keep a secret; PKCE alone.")] = False,
    jwks: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Its public keys (JWKS file): private_key_jwt, no secret.",
        ),
    ] = None,
    introspects: Annotated[
        bool, typer.Option(help="A resource server: it may ask about any token.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add a program. With --redirect people sign in with it; without, it works on its own account.

    The secret is shown this once.
    """
    given = _keys_in(jwks) if jwks else None

    async def work(shop: Shop) -> tuple[AuthClient, str]:
        def added(call: Call) -> tuple[AuthClient, str]:
            client, secret = managing.add_client(
                call.session, name, shop.settings.operator, call.now,
                redirect_uris=redirect or [], scopes=scopes.split(), jwks=given, public=public,
                introspects=introspects,
            )  # fmt: skip
            call.effect("create", "auth_client", client.id, scopes=client.scopes)
            return client, secret

        return await recorded(shop, person(shop.settings.operator), "client_add", added)

    client, secret = with_shop(work, makes=True)
    if as_json:
        say_json({"client_id": client.id, "client_secret": secret or None})
        return
    typer.echo(f"client_id      {client.id}")
    if secret:
        typer.echo(f"client_secret  {secret}   (it is not shown again)")


def _keys_in(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None


def list_all(as_json: Json = False) -> None:
    """List the programs that were added or registered."""

    async def work(shop: Shop) -> list[AuthClient]:
        return await shop.database.run("*", managing.all_clients, write=False)

    found = with_shop(work)
    if as_json:
        say_json([
            {
                "client_id": client.id, "name": client.name, "method": client.method,
                "redirect_uris": client.redirect_uris, "grant_types": client.grant_types,
                "scopes": client.scopes, "introspects": client.introspects,
                "registered_by": client.registered_by, "created_at": stamp(client.created_at),
                "revoked_at": stamp(client.revoked_at) if client.revoked_at else None,
            }
            for client in found
        ])  # fmt: skip
        return
    rows = [
        [
            client.id, client.name, client.method, " ".join(client.redirect_uris),
            " ".join(client.scopes), stamp(client.revoked_at) if client.revoked_at else "",
        ]
        for client in found
    ]  # fmt: skip
    table("Clients", ["id", "name", "proves itself by", "redirects", "scopes", "revoked"], rows)


def revoke(client_id: Annotated[str, typer.Argument(help="Its id. See: shop client list")]) -> None:
    """Give a program no token any more; what people allowed it ends."""

    async def work(shop: Shop) -> None:
        def revoked(call: Call) -> None:
            client = managing.revoke_client(call.session, shop.settings, client_id, call.now)
            call.effect("revoke", "auth_client", client.id)

        await recorded(shop, person(shop.settings.operator), "client_revoke", revoked)

    with_shop(work)
    typer.echo(f"{client_id} gets no token any more.")


def registration_token(
    scopes: Annotated[str, typer.Option(help="The most a registered program may be given.")] = "",
    uses: Annotated[int, typer.Option(help="How many programs may register.")] = 1,
    hours: Annotated[int, typer.Option(help="For how long.")] = 24,
) -> None:
    """Make an initial access token, with which programs register themselves at /auth/register."""

    async def work(shop: Shop) -> str:
        def made(call: Call) -> str:
            token = managing.invite(
                call.session, scopes.split(), shop.settings.operator, call.now,
                uses=uses, hours=hours,
            )  # fmt: skip
            call.effect("invite", "auth_invitation", "", uses=uses, hours=hours)
            return token

        return await recorded(shop, person(shop.settings.operator), "client_invite", made)

    typer.echo(with_shop(work, makes=True))


def rotate_keys(
    algorithm: Annotated[str, typer.Option(help="ES256 or RS256.")] = keys.ALGORITHMS[0],
) -> None:
    """Sign with a new key from now on. The old one stays published until its tokens have died."""
    if algorithm not in keys.ALGORITHMS:
        raise InvalidParameters.field("algorithm", algorithm, "ES256 or RS256")

    async def work(shop: Shop) -> str:
        def rotated(call: Call) -> str:
            key = keys.rotate(call.session, shop.settings, call.now, algorithm)
            call.effect("create", "auth_key", key.id, algorithm=algorithm)
            return key.id

        return await recorded(shop, person(shop.settings.operator), "auth_rotate_keys", rotated)

    typer.echo(f"Signing with {with_shop(work)}.")


def list_keys(as_json: Json = False) -> None:
    """List the signing keys that are published."""

    async def work(shop: Shop) -> list[AuthKey]:
        now = shop.guard.clock()
        return await shop.database.run("*", lambda s: keys.published(s, now), write=False)

    found = [
        {
            "kid": key.id, "algorithm": key.algorithm, "created_at": stamp(key.created_at),
            "published_until": stamp(key.published_until) if key.published_until else None,
        }
        for key in with_shop(work)
    ]  # fmt: skip
    if as_json:
        say_json(found)
        return
    rows = [[str(value or "") for value in key.values()] for key in found]
    table("Signing keys", ["kid", "algorithm", "since", "published until"], rows, whole=["kid"])
