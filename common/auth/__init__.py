"""Who calls over HTTP. Only this package knows what a token or a key looks like.

The gate asks ``Authenticator.authenticate`` once a request and puts the Caller where the guard's
identity finds it. Everything behind the gate sees an Actor and nothing else.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol

from common.call import Actor
from common.errors import NotAuthenticated

Headers = Sequence[tuple[bytes, bytes]]
"""Raw ASGI headers, names in lower case, duplicates kept."""

Method = Literal["token", "introspected", "api_key", "basic", "guest"]


@dataclass(frozen=True)
class Caller:
    """An authenticated caller. ``expires_at`` and ``auth_time`` are seconds since 1970, 0 if not
    said; ``credential_id`` is the token's ``jti`` or the key's id, never the secret."""

    actor: Actor
    method: Method
    audience: str
    expires_at: int = 0
    credential_id: str = ""
    auth_time: int = 0


class CredentialsRefused(Exception):
    """401: missing nothing, but expired, forged, revoked or for somebody else.

    ``reason`` is a short closed word for records and metrics; the text is for the client and says
    nothing that helps to forge.
    """

    def __init__(
        self, reason: str, description: str = "The credentials are not valid here."
    ) -> None:
        super().__init__(description)
        self.reason = reason
        self.description = description


class CredentialsMalformed(Exception):
    """400: two credentials at once, a token in the URL, or a header that cannot be read."""


class IssuerUnavailable(Exception):
    """503: the keys that would prove the token cannot be had now. Not the caller's fault."""

    def __init__(self, issuer: str, retry_after_s: int = 5) -> None:
        super().__init__(f"The keys of {issuer} cannot be fetched.")
        self.retry_after_s = retry_after_s


class Authenticator(Protocol):
    """Turns the headers of one request into a Caller for one audience."""

    async def authenticate(self, headers: Headers, *, audience: str) -> Caller | None:
        """None when there are no credentials at all.

        Raises CredentialsRefused, CredentialsMalformed, IssuerUnavailable.
        """
        ...


calling: ContextVar[Caller] = ContextVar("calling")
"""Set by the gate for the length of a request."""


def calling_actor() -> Actor:
    """The identity of a server behind the gate. Raises NotAuthenticated."""
    try:
        return calling.get().actor
    except LookupError:
        raise NotAuthenticated("Nobody is signed in.") from None
