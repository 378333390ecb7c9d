"""Which authorization servers are trusted, and for what: from a file, or our own alone.

``SHOP_ISSUERS_FILE`` is TOML, one ``[[issuers]]`` for each; docs/identity.md explains every key.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from common.auth.profiles import PROFILES, Profile
from common.auth.strict import word
from common.scopes import Scope
from common.settings import LOOPBACK, HttpSettings

MOST_ISSUERS: Final = 16
MOST_ENTRIES: Final = 10_000
LONGEST_URL: Final = 200
KEYS: Final = "api-keys"
_KNOWN: Final = frozenset(str(scope) for scope in Scope)


class IssuersUnusable(ValueError):
    """The issuers file cannot be used; the message names the place and what is wrong there."""


@dataclass(frozen=True)
class Introspection:
    """Where opaque tokens are looked up (RFC 7662), and as whom."""

    client_id: str
    client_secret: str = field(repr=False)
    endpoint: str = ""


@dataclass(frozen=True)
class Issuer:
    """One trusted authorization server. ``url`` is compared with ``iss`` character by character."""

    url: str
    profile: Profile
    audience: str = ""
    audiences: dict[str, str] = field(default_factory=dict)
    jwks_uri: str = ""
    subject: str = ""
    clients: frozenset[str] = frozenset()
    scopes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    users: dict[str, frozenset[str]] = field(default_factory=dict)
    introspection: Introspection | None = None
    local: bool = False

    def audience_of(self, resource: str) -> str:
        """What ``aud`` must hold for one of our resources. One value for every server does not
        stand for the keys: a program with a token of minutes could make itself a key of years."""
        named = place(resource)
        shared = self.audience if named != KEYS else ""
        return self.audiences.get(named) or shared or resource

    def granted(self, subject: str, words: tuple[str, ...]) -> frozenset[str]:
        """Our scopes that a token's words stand for, and that the file lets this subject have."""
        found = _KNOWN.intersection(
            scope for each in words for scope in self.scopes.get(each, (each,))
        )
        return found & self.users[subject] if self.users else found


def place(resource: str) -> str:
    """``inventory`` of ``https://shop.example/inventory/mcp``; ``console`` of …/console."""
    return urlsplit(resource).path.strip("/").split("/")[0]


def trusted(settings: HttpSettings) -> list[Issuer]:
    """The issuers of the file, and our own where it runs. Raises IssuersUnusable."""
    found = read(settings.issuers_file, settings) if settings.issuers_file else []
    if settings.auth_server and settings.public_url not in {each.url for each in found}:
        found.append(Issuer(settings.public_url, PROFILES["rfc9068"], local=True))
    return found


def read(path: Path, settings: HttpSettings) -> list[Issuer]:
    """Every issuer of a file. Raises IssuersUnusable."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise IssuersUnusable(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise IssuersUnusable(f"{path}: not TOML: {error}") from None
    entries = data.pop("issuers", None)
    if data or not isinstance(entries, list) or not 0 < len(entries) <= MOST_ISSUERS:
        raise IssuersUnusable(
            f"{path}: it must hold 1 to {MOST_ISSUERS} tables [[issuers]] and nothing else"
        )
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_issuer(entry, path.parent, settings))
        except Unusable as error:
            raise IssuersUnusable(f"{path}: issuer {number}: {error}") from None
    urls = [each.url for each in found]
    if len(set(urls)) != len(urls):
        raise IssuersUnusable(f"{path}: the same url twice")
    if sum(each.introspection is not None for each in found) > 1:
        # A token would be shown to a server that did not issue it.
        raise IssuersUnusable(f"{path}: only one issuer can have introspection")
    return found


class Unusable(Exception):
    """One value of the file, or of an issuer's own metadata, is not what it must be."""


def _issuer(value: object, folder: Path, settings: HttpSettings) -> Issuer:
    if not isinstance(value, dict):
        raise Unusable("it must be a table")
    entry: dict[str, Any] = dict(value)
    url = checked_url(entry.pop("url", None), "url")
    name = entry.pop("profile", "rfc9068")
    if name not in PROFILES:
        raise Unusable(f"profile must be one of {', '.join(PROFILES)}, not {name!r}")
    audiences = _texts(entry.pop("audiences", {}), "audiences")
    jwks_uri = entry.pop("jwks_uri", "")
    made = Issuer(
        url=url,
        profile=PROFILES[name],
        audience=_text(entry.pop("audience", ""), "audience"),
        audiences=audiences,
        jwks_uri=checked_url(jwks_uri, "jwks_uri", like=url) if jwks_uri else "",
        subject=_text(entry.pop("subject", ""), "subject"),
        clients=frozenset(_list(entry.pop("clients", []), "clients")),
        scopes=_scopes(entry.pop("scopes", {})),
        users={who: frozenset(held) for who, held in _scopes(entry.pop("users", {})).items()},
        introspection=_introspection(entry.pop("introspection", None), folder, url),
        local=url == settings.public_url,
    )
    if entry:
        raise Unusable(f"unknown key {min(entry)!r}")
    return made


def checked_url(value: object, name: str, *, like: str = "") -> str:
    """An https URL, or http on this machine; ``like``: http only if that one is too."""
    if word(value, LONGEST_URL) is None or not isinstance(value, str) or "|" in value:
        raise Unusable(f"{name} must be a URL of at most {LONGEST_URL} characters")
    try:
        parts = urlsplit(value)
        plain = parts.scheme == "http" and parts.hostname in LOOPBACK
        _ = parts.port
    except ValueError:
        raise Unusable(f"{name} is not a URL: {value}") from None
    if not parts.hostname or parts.fragment or parts.username is not None:
        raise Unusable(f"{name} is not a URL that can be used here: {value}")
    if parts.scheme != "https" and not (plain and (not like or like.startswith("http:"))):
        raise Unusable(f"{name} must begin with https:// (http:// only on this machine): {value}")
    return value


def _introspection(value: object, folder: Path, url: str) -> Introspection | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Unusable("introspection must be a table")
    entry = dict(value)
    endpoint = entry.pop("endpoint", "")
    client = _text(entry.pop("client_id", ""), "introspection.client_id")
    secret_file = folder / _text(entry.pop("client_secret_file", ""), "client_secret_file")
    if entry:
        raise Unusable(f"unknown key introspection.{min(entry)}")
    if not client or not secret_file.is_file():
        raise Unusable("introspection needs client_id and client_secret_file, a file that is there")
    return Introspection(
        client_id=client,
        client_secret=secret_file.read_text("utf-8").strip(),
        endpoint=checked_url(endpoint, "introspection.endpoint", like=url) if endpoint else "",
    )


def _scopes(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise Unusable("scopes and users are tables of names with lists of scopes")
    found = {}
    for name, scopes in value.items():
        listed = _list(scopes, name)
        unknown = sorted(set(listed) - _KNOWN)
        if unknown:
            raise Unusable(f"{name}: there is no scope {unknown[0]!r}")
        found[name] = tuple(listed)
    return found


def _list(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Unusable(f"{name} must be a list of texts")
    return value


def _texts(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Unusable(f"{name} must be a table")
    return {key: _text(each, f"{name}.{key}") for key, each in value.items()}


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise Unusable(f"{name} must be a text")
    return value
