"""What Keycloak makes of ``deploy/identity/realm.json``, as its documentation and source say.

No Keycloak can be had where the tests run. These are its rules for an imported realm, version 26:
a realm that brings client scopes gets none of the built-in ones; a client that names any of its
scopes has those alone; a scope with role mappings serves only who has one of the roles; ``sub``
and ``auth_time`` are in a token because a mapper puts them there.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4, uuid5

FILE: Final = Path(__file__).resolve().parent.parent.parent / "deploy" / "identity" / "realm.json"
SPACE: Final = UUID("6f0d7a2e-6a1c-4d7e-9a5b-0e6d4a4f5b11")
BUILT_IN: Final = frozenset({"offline_access"})
"""Scopes that every realm has, whatever is imported."""


class InvalidScope(Exception):
    """The client may not ask for a scope."""


@dataclass(frozen=True)
class User:
    """Somebody of the realm. A program's own account is called ``service-account-…``."""

    name: str
    email: str = ""
    roles: frozenset[str] = frozenset()
    verified: bool = True

    @property
    def id(self) -> str:
        return str(uuid5(SPACE, self.name))


@dataclass
class Realm:
    """The realm behind one public name."""

    host: str
    data: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        # Placeholders are filled from the container's environment, in the text.
        self.data = json.loads(FILE.read_text().replace("${SHOP_HOST}", self.host))
        self.scopes = {scope["name"]: scope for scope in self.data["clientScopes"]}
        self.clients = {client["clientId"]: client for client in self.data["clients"]}
        self.roles = {role["name"]: role for role in self.data["roles"]["realm"]}

    @property
    def issuer(self) -> str:
        return f"https://{self.host}/id/realms/{self.data['realm']}"

    def claims(
        self, client: str, asked: Sequence[str], user: User, *, signed_in_at: float | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """The access token for what a client asked. Raises InvalidScope."""
        now = int(time.time())
        scopes = self._applied(client, asked, user)
        found: dict[str, Any] = {
            "iss": self.issuer, "typ": "Bearer", "azp": client, "jti": f"onrtac:{uuid4()}",
            "iat": now, "exp": now + self.data["accessTokenLifespan"],
        }  # fmt: skip
        audiences: list[str] = []
        for mapper in self._mappers(scopes):
            _write(found, audiences, mapper, user, int(signed_in_at or now))
        if audiences:
            found["aud"] = audiences[0] if len(audiences) == 1 else audiences
        told = [name for name in scopes if self._attribute(name, "include.in.token.scope")]
        found["scope"] = " ".join([*(["openid"] if "openid" in asked else []), *told])
        return found

    def _applied(self, client: str, asked: Sequence[str], user: User) -> list[str]:
        of_client = self.clients[client]
        default, optional = of_client["defaultClientScopes"], of_client["optionalClientScopes"]
        if unknown := set(asked) - {"openid", *default, *optional}:
            raise InvalidScope(" ".join(sorted(unknown)))
        wanted = [*default, *(name for name in optional if name in asked)]
        return [name for name in wanted if name in self.scopes and self._permitted(name, user)]

    def _permitted(self, scope: str, user: User) -> bool:
        mapped = {
            role for each in self.data["scopeMappings"] if each["clientScope"] == scope
            for role in each["roles"]
        }  # fmt: skip
        return not mapped or not self._expanded(mapped).isdisjoint(self._expanded(user.roles))

    def _expanded(self, names: Sequence[str] | set[str] | frozenset[str]) -> set[str]:
        found = set(names)
        for name in names:
            found |= self._expanded(self.roles[name].get("composites", {}).get("realm", []))
        return found

    def _mappers(self, scopes: Sequence[str]) -> Iterator[dict[str, Any]]:
        for name in scopes:
            yield from self.scopes[name]["protocolMappers"]

    def _attribute(self, scope: str, name: str) -> bool:
        return bool(self.scopes[scope]["attributes"][name] == "true")


def _write(
    claims: dict[str, Any], audiences: list[str], mapper: dict[str, Any], user: User, at: int
) -> None:
    config, kind = mapper["config"], mapper["protocolMapper"]
    if config["access.token.claim"] != "true":
        return
    machine = user.name.startswith("service-account-")
    values = {"username": user.name, "email": user.email, "emailVerified": user.verified}
    if kind == "oidc-sub-mapper":
        claims["sub"] = user.id
    elif kind == "oidc-audience-mapper":
        if config["included.custom.audience"] not in audiences:
            audiences.append(config["included.custom.audience"])
    elif kind == "oidc-usersessionmodel-note-mapper":
        assert config["user.session.note"] == "AUTH_TIME"
        assert config["jsonType.label"] == "long"
        if not machine:
            claims[config["claim.name"]] = at
    elif kind in {"oidc-usermodel-attribute-mapper", "oidc-usermodel-property-mapper"}:
        value = values[config["user.attribute"]]
        assert config["jsonType.label"] == {str: "String", bool: "boolean"}[type(value)]
        if value != "":
            claims[config["claim.name"]] = value
    else:
        raise AssertionError(f"a mapper nobody here knows: {kind}")
