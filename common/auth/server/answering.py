"""HTTP around the protocol: bounded forms, answers nobody may keep, pages nobody may frame."""

from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from common.auth.server.oauth import Answer, Asked, transport
from common.call import Actor
from common.errors import Busy, RateLimited, UpstreamError
from common.limits import network_of
from common.settings import HttpSettings, Settings
from common.shop import Shop

MOST_BYTES: Final = 65_536
MOST_FIELDS: Final = 60
FORM: Final = "application/x-www-form-urlencoded"
NOT_KEPT: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class Unreadable(Exception):
    """The body is too long or no form."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


async def body_of(request: Request) -> bytes:
    """The whole body, bounded. Raises Unreadable."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Unreadable(413, "The body is too long.")
    return body


async def form_of(request: Request) -> list[tuple[str, str]]:
    """The fields of a form, in order. Raises Unreadable."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Unreadable(415, f"Send {FORM}.")
    return pairs((await body_of(request)).decode("latin-1"))


def pairs(encoded: str) -> list[tuple[str, str]]:
    """Query or form taken apart. Raises Unreadable."""
    try:
        found = parse_qsl(
            encoded, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise Unreadable(400, "The parameters cannot be read.") from None
    if any(not key.isprintable() or "\0" in value for key, value in found):
        raise Unreadable(400, "The parameters cannot be read.")
    return found


def asked(request: Request, settings: Settings, parameters: list[tuple[str, str]]) -> Asked:
    """For authlib."""
    headers = {key.title(): value for key, value in request.headers.items()}
    uri = transport(settings, request.url.path)
    return Asked(request.method, uri, parameters, headers)


def sent(answer: Answer) -> Response:
    """authlib's answer as a response."""
    if answer.status == 303 or not isinstance(answer.body, dict):
        return Response(status_code=answer.status, headers=answer.headers)
    headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-type"}
    return JSONResponse(answer.body, answer.status, headers=headers)


def refusal(error: str, description: str, status: int = 400) -> JSONResponse:
    """The error shape of RFC 6749 §5.2."""
    content = {"error": error, "error_description": description}
    return JSONResponse(content, status, headers=NOT_KEPT)


def page(template: str, status: int = 200, *, leads_to: str = "", **content: Any) -> HTMLResponse:
    """A page of ours. ``leads_to`` is where its form may end up, after a redirect."""
    html = _templates().get_template(template).render(**content)
    targets = f"'self' {_origin(leads_to)}".strip()
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {targets}"
    )
    headers = NOT_KEPT | {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return HTMLResponse(html, status, headers=headers)


def stylesheet() -> Response:
    """The one style file of the pages."""
    text = _templates().get_template("style.css").render()
    headers = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(text, media_type="text/css", headers=headers)


def cookie_name(http: HttpSettings, name: str) -> str:
    """With the prefix that binds it to this very host, where there is TLS."""
    return f"__Host-{name}" if http.public_url.startswith("https://") else name


def set_cookie(response: Response, http: HttpSettings, name: str, value: str) -> None:
    """For this browser's session, out of reach of scripts and other sites' forms."""
    secure = http.public_url.startswith("https://")
    response.set_cookie(
        cookie_name(http, name), value, path="/", secure=secure, httponly=True, samesite="lax"
    )


def drop_cookie(response: Response, http: HttpSettings, name: str) -> None:
    """The reverse of ``set_cookie``."""
    secure = http.public_url.startswith("https://")
    response.delete_cookie(
        cookie_name(http, name), path="/", secure=secure, httponly=True, samesite="lax"
    )


def same_origin(request: Request, shop: Shop) -> bool:
    """Whether a form was sent by a page of ours. Browsers always say where a POST comes from."""
    origins = request.headers.getlist("origin")
    return all(origin in shop.settings.http.allowed_origins for origin in origins)


def address_of(request: Request) -> str:
    """Where the request comes from, as far as the server knows."""
    return request.client.host if request.client else "unknown"


def stranger(request: Request) -> Actor:
    """Whoever asks, before they have said who they are: what counts is where they come from."""
    network = network_of(address_of(request))
    return Actor("unknown", network, "unknown", frozenset(), network=network)


def too_many(error: RateLimited) -> JSONResponse:
    """RFC 6749 has no word for it; RFC 6585 has a status."""
    answer = refusal("temporarily_unavailable", error.message, 429)
    answer.headers["Retry-After"] = str(error.details.get("retry_after_s", 60))
    return answer


def later(error: Busy | UpstreamError, *, person: bool) -> Response:
    """The database takes nothing now: a page for a person, RFC 6749's shape for a program."""
    answer: Response
    if person:
        answer = page("problem.html", 503, message=f"{error.message} Try again later.")
    else:
        answer = refusal("temporarily_unavailable", error.message, 503)
    answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _origin(url: str) -> str:
    """What a Content-Security-Policy calls the place: an origin, or a private scheme."""
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return f"{parts.scheme}:"
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("common.auth.server"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
