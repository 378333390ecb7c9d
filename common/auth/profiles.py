"""How authorization servers write their access tokens. Strict RFC 9068 unless the file says so.

A profile names the header types it takes and reads four things from verified claims. It may refuse
(``None``) what is signed and alive but no access token: an ID token of the same server, above all.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Claims = Mapping[str, Any]
EMAIL: Final = re.compile(r"[!-?A-~]{1,64}@[0-9A-Za-z.-]{1,189}")
"""Plain ASCII: two addresses that look or fold alike are never one."""


@dataclass(frozen=True)
class Identity:
    """Raw values: the verifier checks their form."""

    subject: object
    client: object
    scope: object
    machine: bool
    token_id: object = ""


@dataclass(frozen=True)
class Profile:
    name: str
    types: frozenset[str]
    read: Callable[[str, Claims], Identity | None]
    """From the issuer's URL and the claims."""
    lists: bool = False
    """Whether scopes may come as a list."""
    emails: bool = True
    """Whether its word that an address was verified counts."""


def _rfc9068(_: str, claims: Claims) -> Identity | None:
    subject, client = claims.get("sub"), claims.get("client_id")
    token_id = claims.get("jti")
    if token_id is None:
        return None
    return Identity(subject, client, claims.get("scope", ""), subject == client, token_id)


def _keycloak(_: str, claims: Claims) -> Identity | None:
    if claims.get("typ") != "Bearer":  # "ID", "Refresh", "Offline", "Logout"
        return None
    # A service account is told by its user name alone: without one, nobody is a person.
    name = claims.get("preferred_username")
    machine = not isinstance(name, str) or name.startswith("service-account-")
    return Identity(
        claims.get("sub"), claims.get("azp"), claims.get("scope", ""), machine,
        claims.get("jti", ""),
    )  # fmt: skip


def _entra(issuer: str, claims: Claims) -> Identity | None:
    # Version 2 only; ``azp`` is in no ID token. ``sub`` differs from app to app for one person,
    # so that requester and approver could look like two: ``oid`` does not.
    tenant = claims.get("tid")
    if claims.get("ver") != "2.0" or not isinstance(tenant, str) or tenant not in issuer:
        return None
    if "azp" not in claims or "nonce" in claims:
        return None
    machine = "scp" not in claims or claims.get("idtyp") == "app"
    scope = claims.get("roles", []) if machine else claims.get("scp")
    return Identity(claims.get("oid"), claims.get("azp"), scope, machine, claims.get("uti", ""))


def _okta(_: str, claims: Claims) -> Identity | None:
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not token_id.startswith("AT.") or "nonce" in claims:
        return None
    client = claims.get("cid")
    machine = "uid" not in claims or claims.get("sub") == client
    return Identity(claims.get("sub"), client, claims.get("scp", []), machine, token_id)


def _auth0(_: str, claims: Claims) -> Identity | None:
    if "nonce" in claims or "at_hash" in claims or "c_hash" in claims:
        return None
    client = claims.get("client_id", claims.get("azp"))
    subject = claims.get("sub")
    machine = claims.get("gty") == "client-credentials" or subject == f"{client}@clients"
    return Identity(subject, client, claims.get("scope", ""), machine, claims.get("jti", ""))


AT_JWT: Final = frozenset({"at+jwt"})
ANY_JWT: Final = frozenset({"at+jwt", "jwt"})

PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("rfc9068", AT_JWT, _rfc9068),
        Profile("keycloak", ANY_JWT, _keycloak),
        # Any tenant's administrator writes whatever address they like into its tokens.
        Profile("entra", ANY_JWT, _entra, lists=True, emails=False),
        Profile("okta", ANY_JWT | {""}, _okta, lists=True),  # its access tokens name no type
        Profile("auth0", ANY_JWT, _auth0),
    )
}
