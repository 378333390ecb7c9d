"""What a token can be for: one audience each, and the scopes that mean something there."""

from collections.abc import Iterable
from typing import Final

from common.scopes import Scope, granted, of_domain
from common.settings import HttpSettings

DOMAINS: Final = tuple(
    dict.fromkeys(
        str(scope).partition(":")[0] for scope in Scope if scope is not Scope.APPROVALS_DECIDE
    )
)


def console(http: HttpSettings) -> str:
    """The audience of the approvals console."""
    return f"{http.public_url}/console"


def api_keys(http: HttpSettings) -> str:
    """The audience of the REST interface for API keys."""
    return f"{http.public_url}/api-keys"


def servers(http: HttpSettings) -> tuple[str, ...]:
    """The audiences of the servers: all that a program which is not ours can have tokens for."""
    return tuple(http.audience(name) for name in DOMAINS)


def resources(http: HttpSettings) -> dict[str, tuple[str, ...]]:
    """Scopes by audience. Only the console can ever be given the right to decide."""
    found = {http.audience(name): tuple(str(s) for s in of_domain(name)) for name in DOMAINS}
    reads = [str(scope) for scope in Scope if scope.endswith(":read")]
    found[console(http)] = (str(Scope.APPROVALS_DECIDE), *reads)
    found[api_keys(http)] = ()
    return found


def narrowed(asked: Iterable[str], *limits: Iterable[str]) -> list[str]:
    """The scopes asked for that every limit allows, in the order of the enum. A limit that allows
    ``write`` allows the ``read`` it implies."""
    left = set(asked)
    for limit in limits:
        left &= granted(frozenset(limit))
    return [str(scope) for scope in Scope if scope in left]
