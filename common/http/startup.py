"""What must hold before anybody is let in: said with the reason and the way out."""

from urllib.parse import urlsplit

from common.auth.issuers import IssuersUnusable, trusted
from common.settings import LOOPBACK, HttpSettings


class UnsafeToStart(Exception):
    """Every reason, one a line."""


def check(http: HttpSettings) -> None:
    """Raises UnsafeToStart. On loopback almost anything goes; elsewhere nothing by default."""
    found = [*_always(http), *([] if http.loopback else _in_public(http))]
    if found:
        raise UnsafeToStart("\n".join(found))


def _always(http: HttpSettings) -> list[str]:
    found = []
    for name, values in (
        ("SHOP_ALLOWED_HOSTS", http.allowed_hosts),
        ("SHOP_ALLOWED_ORIGINS", http.allowed_origins),
    ):
        if any("*" in value for value in values):
            found.append(
                f"{name} holds a pattern; list every value exactly, so that none slips by."
            )
    if not http.auth_server and http.issuers_file is None:
        found.append(
            "Nobody could sign in: name your authorization servers in SHOP_ISSUERS_FILE, or set "
            "SHOP_AUTH_SERVER=1 to run the small one."
        )
    try:
        trusted(http)
    except IssuersUnusable as error:
        found.append(f"SHOP_ISSUERS_FILE: {error}")
    if http.auth_basic and not http.loopback:
        found.append("SHOP_AUTH_BASIC is for development and works on loopback only; unset it.")
    return found


def _in_public(http: HttpSettings) -> list[str]:
    found = []
    public = urlsplit(http.public_url)
    where = f"SHOP_HTTP_HOST={http.host} can be reached from other machines"
    if public.hostname in LOOPBACK:
        found.append(
            f"{where}, and SHOP_PUBLIC_URL is {http.public_url}: set it to the https URL clients "
            "use, which is also the Host, the Origin and the audience that are accepted."
        )
    elif public.scheme != "https":
        found.append(f"SHOP_PUBLIC_URL must be https, not {http.public_url}: tokens travel there.")
    if not http.tls_terminated:
        found.append(
            f"{where} and speaks no TLS: put a proxy with TLS in front and set "
            "SHOP_TLS=terminated, or listen on 127.0.0.1."
        )
    for origin in http.allowed_origins:
        if not origin.startswith("https://"):
            found.append(f"SHOP_ALLOWED_ORIGINS names {origin}: only https origins off loopback.")
    return found
