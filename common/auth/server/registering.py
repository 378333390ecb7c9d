"""What a client says about itself (RFC 7591), read strictly: at registration, in its metadata
document, and at the terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from common.auth.server.clients import CODE, CREDENTIALS, REFRESH, SECRET_METHODS, Client
from common.settings import LOOPBACK

MOST_REDIRECTS: Final = 20
MOST_KEYS: Final = 10
LONGEST_REDIRECT: Final = 1_000
GRANTS: Final = (CODE, REFRESH, CREDENTIALS)
_PRIVATE_SCHEME: Final = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")


class Refused(Exception):
    """The client is not taken, with the error code RFC 6749 or RFC 7591 has for it."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


def described(
    client_id: str,
    said: Mapping[str, Any],
    *,
    default_method: str,
    methods: Sequence[str],
    may: Sequence[str] = GRANTS,
) -> Client:
    """The client these metadata describe; what is not understood, or none of what it ``may``, is
    left out. Raises Refused."""
    method = said.get("token_endpoint_auth_method", default_method)
    if method not in methods:
        raise _bad(f"token_endpoint_auth_method must be one of {', '.join(methods)}.")
    grants = [g for g in _texts(said, "grant_types", [CODE]) if g in may]
    if not grants:
        raise _bad(f"grant_types has none of {', '.join(may)}.")
    if CREDENTIALS in grants and method == "none":
        raise _bad("client_credentials needs a client that authenticates.")
    redirects = _texts(said, "redirect_uris", [])
    if CODE in grants and not redirects:
        raise Refused("invalid_redirect_uri", "redirect_uris is missing.")
    if len(redirects) > MOST_REDIRECTS:
        raise Refused("invalid_redirect_uri", f"At most {MOST_REDIRECTS} redirect_uris.")
    for uri in redirects:
        check_redirect(uri)
    return Client(
        id=client_id, name=_name(said, client_id),
        method="client_secret" if method in SECRET_METHODS else str(method),
        redirect_uris=tuple(redirects), grant_types=tuple(grants),
        jwks=checked_jwks(said.get("jwks")) if method == "private_key_jwt" else None,
    )  # fmt: skip


def check_redirect(uri: str) -> None:
    """https, http on loopback, or a private scheme with a dot in it. Raises Refused."""
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        raise Refused("invalid_redirect_uri", "A redirect URI cannot be read.") from None
    web = bool(parts.hostname) and parts.username is None and parts.password is None
    fine = (
        (parts.scheme == "https" and web)
        or (parts.scheme == "http" and web and parts.hostname in LOOPBACK)
        or bool(_PRIVATE_SCHEME.fullmatch(parts.scheme))
    )
    odd = "#" in uri or "*" in uri or "\\" in uri or not uri.isascii() or not uri.isprintable()
    if not fine or odd or " " in uri or len(uri) > LONGEST_REDIRECT:
        raise Refused(
            "invalid_redirect_uri", "A redirect URI is https, http on loopback, or private."
        )


def checked_jwks(jwks: Any) -> dict[str, Any]:
    """Public keys to authenticate with, and nothing else. Raises Refused."""
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_KEYS:
        raise _bad(f"private_key_jwt needs jwks with 1 to {MOST_KEYS} keys.")
    if any(not isinstance(k, dict) or k.get("kty") not in ("EC", "RSA") for k in listed):
        raise _bad("jwks must hold EC or RSA keys.")
    if any("d" in key or "k" in key for key in listed):
        raise _bad("jwks holds a private key. Make a new pair and send its public half.")
    try:
        keys = KeySet.import_key_set({"keys": listed}).keys
        small = any(isinstance(k, RSAKey) and k.raw_value.key_size < 2048 for k in keys)
    except (JoseError, ValueError, TypeError, KeyError):
        raise _bad("jwks holds a key that cannot be read.") from None
    if small:
        raise _bad("An RSA key needs 2048 bits or more.")
    return {"keys": listed}


def _name(said: Mapping[str, Any], client_id: str) -> str:
    name = said.get("client_name")
    if not isinstance(name, str) or not name.strip():
        return client_id[:200]
    shown = "".join(ch if ch.isprintable() else " " for ch in name)
    return " ".join(shown.split())[:120]


def _texts(said: Mapping[str, Any], key: str, default: list[str]) -> list[str]:
    listed = said.get(key, default)
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise _bad(f"{key} must be a list of texts.")
    return list(dict.fromkeys(listed))


def _bad(why: str) -> Refused:
    return Refused("invalid_client_metadata", why)
