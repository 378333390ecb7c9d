"""Bad tokens, and some good ones, numbered as in the list of attacks that the tests go through.

Each is a function of the provider and the audience. All are really signed unless the point is that
they are not: what they try is everything but breaking the signature.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from joserfc import jwe
from joserfc.jwk import OctKey, RSAKey

from tests.support.oidc import ALGORITHMS, Oidc, b64

Forge = Callable[[Oidc, str], str | bytes]
OTHER = "http://127.0.0.1:8300/payments/mcp"

REFUSED: list[tuple[str, Forge, str]] = []
ACCEPTED: list[tuple[str, Forge]] = []


def bad(name: str, reason: str, forge: Forge) -> None:
    REFUSED.append((name, forge, reason))


def good(name: str, forge: Forge) -> None:
    ACCEPTED.append((name, forge))


def head(name: str, reason: str, **header: Any) -> None:
    """A right payload under a header that is changed; really signed."""
    bad(name, reason, lambda oidc, aud: oidc.mint(oidc.claims(aud), header))


def claim(name: str, reason: str, **changes: Any) -> None:
    """A claim changed, by value or by a function of (now, audience, issuer)."""
    bad(name, reason, _claims(changes))


def fine(
    name: str, alg: str = "RS256", header: dict[str, Any] | None = None, **changes: Any
) -> None:
    good(name, _claims(changes, alg=alg, header=header))


def _claims(changes: dict[str, Any], **more: Any) -> Forge:
    def forge(oidc: Oidc, aud: str) -> str:
        now = int(time.time())
        given = {
            name: value(now, aud, oidc.issuer) if callable(value) else value
            for name, value in changes.items()
        }
        return oidc.mint(oidc.claims(aud, **given), **more)

    return forge


def unsigned(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(b64(part) for part in parts)


def hmac_signed(oidc: Oidc, aud: str, key: bytes, alg: str = "HS256") -> str:
    header = {"alg": alg, "typ": "at+jwt", "kid": oidc.key()["kid"]}
    signing_input = unsigned(header, oidc.claims(aud)).rpartition(".")[0]
    return f"{signing_input}.{b64(hmac.digest(key, signing_input.encode(), hashlib.sha256))}"


def raw(name: str, reason: str, change: Callable[[str], str]) -> None:
    """The payload's text, changed, and really signed."""
    bad(name, reason, lambda oidc, aud: oidc.mint(change(json.dumps(oidc.claims(aud)))))


def whole(name: str, reason: str, change: Callable[[str], str | bytes]) -> None:
    """A right token, changed as a text."""
    bad(name, reason, lambda oidc, aud: change(oidc.mint(oidc.claims(aud))))


def pem(oidc: Oidc) -> bytes:
    public = {name: oidc.key()[name] for name in ("kty", "n", "e")}
    return RSAKey.import_key(public).as_pem(private=False)


def public_n(oidc: Oidc) -> bytes:
    n = oidc.key()["n"]
    return base64.urlsafe_b64decode(n + "=" * (-len(n) % 4))


# -- algorithm and signature -------------------------------------------------------------------

for spelling in ("none", "None", "NONE", "nOnE"):
    bad(
        f"1 alg {spelling}", "algorithm",
        lambda oidc, aud, spelling=spelling: unsigned(
            {"alg": spelling, "typ": "at+jwt"}, oidc.claims(aud)
        ),
    )  # fmt: skip
head("2 none with a real signature", "algorithm", alg="none")
bad("3 HS256 with the public key as PEM", "algorithm", lambda o, a: hmac_signed(o, a, pem(o)))
bad("4 HS256 with the modulus", "algorithm", lambda o, a: hmac_signed(o, a, public_n(o)))
bad("5 HS256 with an empty key", "algorithm", lambda o, a: hmac_signed(o, a, b""))
head("6 alg missing", "algorithm", alg=None)
head("6 alg a list", "algorithm", alg=["RS256"])
head("6 alg a number", "algorithm", alg=256)
for algorithm in ("RS384", "RS512", "ES384", "PS384", "HS512", "ES256K", "rs256"):
    head(f"6 alg {algorithm}", "algorithm", alg=algorithm)
head("7 ES256 on an RSA key", "key", alg="ES256")
head("7 PS256 on a key that is for RS256", "key", alg="PS256")
head("7 EdDSA on an RSA key", "key", alg="EdDSA")
bad(
    "8 payload swapped", "signature",
    lambda oidc, aud: _swapped(oidc.mint(oidc.claims(aud)), oidc.claims(aud, sub="kim")),
)  # fmt: skip
whole("9 signature cut", "signature", lambda token: _cut(token))
whole("9 signature empty", "signature", lambda token: token.rpartition(".")[0] + ".")
whole("9 signature of zeros", "signature", lambda t: f"{t.rpartition('.')[0]}.{b64(bytes(256))}")
whole("10 signature not canonical", "malformed", lambda token: _not_canonical(token))
whole("10 signature padded", "malformed", lambda token: token + "==")
whole("10 standard base64", "malformed", lambda t: f"{t.rpartition('.')[0]}.ab+/" + "A" * 338)

# -- header ------------------------------------------------------------------------------------

OWN = RSAKey.generate_key(2048)
head("11 embedded jwk", "header", jwk=OWN.as_dict(private=False))
head("12 jku", "header", jku="http://127.0.0.1:1/jwks")
head("13 x5u", "header", x5u="http://127.0.0.1:1/x5u")
head("14 x5c", "header", x5c=["MIIB"])
head("15 crit unknown", "header", crit=["exp"], exp=1)
head("16 crit empty", "header", crit=[])
head("17 b64 false", "header", b64=False, crit=["b64"])
head("17 b64 alone", "header", b64=True)
head("17 zip", "header", zip="DEF")
bad(
    "18 alg twice", "malformed",
    lambda oidc, aud: oidc.mint(
        oidc.claims(aud), '{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"$KID"}'
    ),
)  # fmt: skip
head("19 kid missing", "key", kid=None)
head("20 kid unknown", "key", kid="never-published")
head("22 kid a path", "key", kid="../../../../dev/null")
head("23 kid SQL", "key", kid="x' UNION SELECT 'secret' --")
head("24 kid a number", "key", kid=7)
head("24 kid a list", "key", kid=["a"])
head("24 kid empty", "key", kid="")
head("25 kid of 4 kB", "key", kid="k" * 4_000)
head("25 kid of 10 kB", "malformed", kid="k" * 10_000)

# -- issuer and audience -----------------------------------------------------------------------

claim("26 another issuer", "issuer", iss="https://evil.example")
claim("26 issuer missing", "issuer", iss=None)
claim("27 issuer with a slash", "issuer", iss=lambda now, aud, iss: iss + "/")
claim("27 issuer in capitals", "issuer", iss=lambda now, aud, iss: iss.upper())
claim("28 issuer a list", "issuer", iss=lambda now, aud, iss: [iss])
claim("29 a sibling's audience", "audience", aud=OTHER)
claim("30 audience missing", "audience", aud=None)
claim("30 audience an empty list", "audience", aud=[])
claim("30 audience an object", "audience", aud=lambda now, aud, iss: {aud: aud})
claim("30 audience a list with a number", "audience", aud=lambda now, aud, iss: [aud, 7])
claim("30 audience a list of lists", "audience", aud=lambda now, aud, iss: [[aud]])
claim("30 audience true", "audience", aud=True)
raw("30 audience null", "audience", lambda text: _with(text, "aud", "null"))
claim("31 audience longer", "audience", aud=lambda now, aud, iss: aud + "/x")
claim("31 audience shorter", "audience", aud=lambda now, aud, iss: aud[:-1])
claim("31 audience with a slash", "audience", aud=lambda now, aud, iss: aud + "/")
claim("31 two audiences in one text", "audience", aud=lambda now, aud, iss: f"{aud} {OTHER}")
claim("31 an audience too many", "audience", aud=lambda now, aud, iss: [aud] * 33)
raw("32 audience twice", "malformed", lambda text: _twice(text, "aud", f'"{OTHER}"'))
raw("33 scope twice", "malformed", lambda text: _twice(text, "scope", '"payments:refund"'))
raw("33 expiry twice", "malformed", lambda text: _twice(text, "exp", "4102444800"))

# -- time --------------------------------------------------------------------------------------

claim("34 expired", "expired", exp=lambda now, aud, iss: now - 60, iat=lambda n, a, i: n - 360)
claim("35 expiry missing", "time", exp=None)
claim("35 expiry a text", "time", exp=lambda now, aud, iss: str(now + 300))
claim("35 expiry true", "time", exp=True)
claim("35 expiry a list", "time", exp=lambda now, aud, iss: [now + 300])
raw("35 expiry null", "time", lambda text: _with(text, "exp", "null"))
raw("36 expiry NaN", "malformed", lambda text: _with(text, "exp", "NaN"))
raw("36 expiry Infinity", "malformed", lambda text: _with(text, "exp", "Infinity"))
raw("36 expiry 1e400", "malformed", lambda text: _with(text, "exp", "1e400"))
raw("36 expiry of 5,000 digits", "malformed", lambda text: _with(text, "exp", "9" * 5_000))
raw("36 expiry 1e300", "time", lambda text: _with(text, "exp", "1e300"))
claim("37 expiry in the year 9999", "time", exp=253402300799)
claim("37 longer than a day", "time", exp=lambda now, aud, iss: now + 86_401)
claim("38 not before in the future", "early", nbf=lambda now, aud, iss: now + 120)
claim("38 not before a text", "time", nbf="0")
claim("39 issued in the future", "early", iat=lambda n, a, i: n + 120, exp=lambda n, a, i: n + 300)
claim("39 issued missing", "time", iat=None)
claim("39 issued false", "time", iat=False)
claim("39 expired when issued", "time", iat=lambda n, a, i: n + 20, exp=lambda n, a, i: n + 10)

# -- type --------------------------------------------------------------------------------------

head("41 an ID token's type", "type", typ="JWT")
head("42 no type", "type", typ=None)
head("42 type a number", "type", typ=1)
for kind in ("dpop+jwt", "logout+jwt", "secevent+jwt", "at+jwt ", "application/at+jwt+json"):
    head(f"43 {kind}", "type", typ=kind)
claim("44 bound to a key", "bound", cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})
raw("44 cnf null", "bound", lambda text: text[:-1] + ', "cnf": null}')

# -- who ---------------------------------------------------------------------------------------

claim("45 subject missing", "identity", sub=None)
claim("45 subject a number", "identity", sub=7)
claim("45 subject empty", "identity", sub="")
claim("45 client missing", "identity", client_id=None)
claim("45 client a list", "identity", client_id=["desktop"])
claim("45 jti missing", "type", jti=None)
claim("45 jti a number", "identity", jti=5)
for title, value in {
    "NUL": "kim\0", "CRLF": "kim\r\nx", "a tab": "kim\tx", "a lone surrogate": "kim\ud800",
    "a direction mark": "kim\u202egro", "a zero-width space": "ki\u200bm", "spaces": " kim",
    "a line separator": "kim\u2028", "301 characters": "k" * 301,
}.items():  # fmt: skip
    claim(f"46 subject with {title}", "identity", sub=value)
claim("46 client with NUL", "identity", client_id="desktop\0")
claim("46 jti with CRLF", "identity", jti="a\r\nb")
claim("47 scope a list", "scope", scope=["inventory:read"])
claim("47 scope an object", "scope", scope={"inventory:read": True})
claim("47 scope a number", "scope", scope=1)
raw("47 scope null", "scope", lambda text: _with(text, "scope", "null"))
for title, value in {
    "a tab": "inventory:read\tinventory:write", "a newline": "inventory:read\ninventory:write",
    "two spaces": "inventory:read  inventory:write", "a space at the end": "inventory:read ",
    "a quote": 'inventory:read "x"', "a backslash": "inventory:read \\x",
}.items():  # fmt: skip
    claim(f"48 scope with {title}", "scope", scope=value)
claim("49 scope with a Cyrillic letter", "scope", scope="inventoрy:read")
claim("50 65 scopes", "scope", scope=" ".join(["inventory:read"] * 65))
claim("50 10,000 scopes", "malformed", scope=" ".join(["inventory:read"] * 10_000))

# -- form --------------------------------------------------------------------------------------

bad(
    "53 encrypted", "malformed",
    lambda oidc, aud: jwe.encrypt_compact(
        {"alg": "dir", "enc": "A128GCM"}, json.dumps(oidc.claims(aud)),
        OctKey.import_key(b"0" * 16),
    ),
)  # fmt: skip
whole("54 JSON serialization", "malformed", lambda token: _as_json(token))
whole("55 200 kB", "malformed", lambda token: token + "A" * 200_000)
bad(
    "56 nested header", "malformed",
    lambda oidc, aud: oidc.mint(
        oidc.claims(aud), '{"alg":"RS256","x":' + "[" * 2_000 + "]" * 2_000 + "}"
    ),
)  # fmt: skip
raw("56 nested payload", "malformed", lambda text: '{"a":' + "[" * 2_500 + "]" * 2_500 + "}")
whole("57 header not UTF-8", "malformed", lambda t: b64(b'{"alg":"\xff"}') + t[t.index(".") :])
whole("57 header no JSON", "malformed", lambda t: b64(b"alg=RS256") + t[t.index(".") :])
whole("57 header a list", "malformed", lambda t: b64(b"[]") + t[t.index(".") :])
raw("57 payload a list", "malformed", lambda text: f"[{text}]")
raw("57 payload a text", "malformed", json.dumps)
bad("57 payload not UTF-8", "malformed", lambda o, a: o.mint(b'{"iss":"\xff\xfe"}'))
bad(
    "57 payload UTF-16", "malformed",
    lambda oidc, aud: oidc.mint(json.dumps(oidc.claims(aud)).encode("utf-16")),
)  # fmt: skip
raw("57 payload with a byte order mark", "malformed", lambda text: "\ufeff" + text)
whole("58 empty", "malformed", lambda token: "")
whole("58 one part", "malformed", lambda token: token.replace(".", ""))
whole("58 two parts", "malformed", lambda token: token.rpartition(".")[0])
whole("58 four parts", "malformed", lambda token: token + ".AAAA")
whole("58 empty header", "malformed", lambda token: token[token.index(".") :])
whole("58 dots", "malformed", lambda token: "..")
for title, inside in {"a space": " ", "a newline": "\n", "NUL": "\0"}.items():
    whole(f"59 {title} inside", "malformed", lambda t, inside=inside: t[:40] + inside + t[40:])
    whole(f"59 {title} at the end", "malformed", lambda t, inside=inside: t + inside)
whole("59 not ASCII", "malformed", lambda token: token.encode() + "é".encode())

# -- good ones ---------------------------------------------------------------------------------

for alg in ALGORITHMS:
    fine(f"signed by {alg}", alg)
fine("40 expired 10 s ago", exp=lambda n, a, i: n - 10, iat=lambda n, a, i: n - 310)
fine("40 issued in 10 s", iat=lambda n, a, i: n + 10, exp=lambda n, a, i: n + 310)
fine("40 not before in 10 s", nbf=lambda now, aud, iss: now + 10)
fine("51 no scope", scope=None)
fine("51 empty scope", scope="")
fine("scopes nobody knows", scope="openid offline_access inventory:read x:y")
fine("64 scopes", scope=" ".join(["inventory:read"] * 64))
fine("audience in a list", aud=lambda now, aud, iss: ["https://other.example", aud])
fine("times with a fraction", iat=lambda n, a, i: n - 0.5, exp=lambda n, a, i: n + 99.5)
fine("a day long", exp=lambda now, aud, iss: now + 86_400)
fine("more claims", acr="2", act={"sub": "x"}, nested={"a": [1, {"b": None}]}, auth_time=1)
fine("a subject in another script", sub="Ана Петровић")
fine("a subject with a bar", sub="auth0|123456")
fine("the type in full", header={"typ": "application/at+jwt"})
fine("the type in capitals", header={"typ": "AT+JWT"})
fine("more in the header", header={"x5t": "QSBzaG9ydCB0aHVtYnByaW50IQ", "cty": "x"})
good(
    "a header with spaces",
    lambda oidc, aud: oidc.mint(
        oidc.claims(aud), '{ "alg" : "RS256", "typ" : "at+jwt",\n"kid" : "$KID" }'
    ),
)


def _swapped(token: str, claims: dict[str, Any]) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{b64(json.dumps(claims).encode())}.{signature}"


def _cut(token: str) -> str:
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{b64(base64.urlsafe_b64decode(signature + '==')[:-16])}"


def _not_canonical(token: str) -> str:
    """Another last letter for the same bytes: 256 bytes leave four bits of it unused."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) + 1]


def _as_json(token: str) -> str:
    header, payload, signature = token.split(".")
    return json.dumps({"payload": payload, "protected": header, "signature": signature})


def _with(text: str, name: str, value: str) -> str:
    """The same JSON with the value of one member written so."""
    claims = json.loads(text)
    claims[name] = "@here@"
    return json.dumps(claims).replace('"@here@"', value)


def _twice(text: str, name: str, value: str) -> str:
    return f'{text[:-1]}, "{name}": {value}}}'
