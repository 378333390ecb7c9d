"""Keys: turned, retired, withheld, replaced by nonsense, and asked for by a flood."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from common.auth import IssuerUnavailable
from common.auth.authenticator import Composed
from common.auth.fetching import MOST_BYTES, FetchFailed
from common.auth.jwks import APART_S, BURST, FRESH_S, STALE_S, Keys, Metadata, usable
from common.auth.strict import Unreadable
from tests.auth.support import INVENTORY, Tick, ask, issuer, reason, verifying
from tests.support import unavailable
from tests.support.node import Unavailable
from tests.support.oidc import Oidc, b64, provider


@pytest.fixture(scope="module")
def turning() -> Iterator[Oidc]:
    """A provider whose keys may be turned and broken."""
    try:
        with provider() as own:
            yield own
    except Unavailable as error:
        unavailable(str(error))


@pytest.fixture
def own(turning: Oidc) -> Iterator[Oidc]:
    yield turning
    turning.jwks("ok")


@pytest.fixture
def tick() -> Tick:
    return Tick()


@pytest.fixture
async def who(tmp_path: Path, own: Oidc, tick: Tick) -> AsyncIterator[Composed]:
    async with verifying(tmp_path, issuer(own.issuer), tick=tick) as made:
        yield made


def token(own: Oidc, **more: str) -> str:
    return own.mint(own.claims(INVENTORY), **more)


async def test_one_fetch_serves_many_tokens(who: Composed, own: Oidc) -> None:
    before = own.hits()
    tokens = [token(own) for _ in range(20)]
    await asyncio.gather(*(ask(who, each) for each in tokens))
    assert own.hits() == before + 1


async def test_a_key_turned_mid_flight(who: Composed, own: Oidc) -> None:
    old = token(own)
    await ask(who, old)
    own.rotate()
    new = token(own)
    assert await reason(who, new) == "accepted"
    assert await reason(who, old) == "accepted"
    assert await reason(who, token(own, kid=own.published()[1]["kid"])) == "accepted"


async def test_a_retired_key_ends_with_the_freshness_of_the_keys(
    who: Composed, own: Oidc, tick: Tick
) -> None:
    known = token(own)
    await ask(who, known)
    own.rotate()
    retired = own.retire()[-1]["kid"]
    other = token(own, kid=retired)
    assert await reason(who, other) == "accepted"
    tick.forward(FRESH_S + 1)
    assert await reason(who, token(own)) == "accepted"
    assert await reason(who, other) == "key"
    assert await reason(who, known) == "key"


async def test_forged_key_names_buy_no_fetches(who: Composed, own: Oidc, tick: Tick) -> None:
    await ask(who, token(own))
    before = own.hits()
    signed, claims = token(own), own.claims(INVENTORY)
    for number in range(2_000):
        forged = own_header(signed, f"forged-{number}")
        assert await reason(who, forged) == "key"
    assert own.hits() - before <= BURST
    await asyncio.gather(*(reason(who, own_header(signed, f"more-{n}")) for n in range(200)))
    assert own.hits() - before <= BURST
    assert await reason(who, own.mint(claims)) == "accepted"
    # Not for ever: a while later one look is worth it again, and the flood has not locked out a
    # new key.
    own.rotate()
    assert await reason(who, token(own)) == "key"
    tick.forward(APART_S)
    assert await reason(who, token(own)) == "accepted"


def own_header(signed: str, kid: str) -> str:
    header = json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": kid})
    return f"{b64(header.encode())}.{signed.partition('.')[2]}"


@pytest.mark.parametrize("mode", ["down", "html", "redirect", "huge", "list"])
async def test_no_keys_to_be_had(who: Composed, own: Oidc, tick: Tick, mode: str) -> None:
    good, before = token(own), own.hits()
    own.jwks(mode)
    for _ in range(20):
        with pytest.raises(IssuerUnavailable) as error:
            await ask(who, good)
    assert error.value.retry_after_s > 0
    assert own.hits() == before + 1
    own.jwks("ok")
    tick.forward(APART_S)
    assert await reason(who, good) == "accepted"


async def test_old_keys_last_while_none_are_to_be_had(who: Composed, own: Oidc, tick: Tick) -> None:
    good = token(own)
    await ask(who, good)
    own.jwks("down")
    before = own.hits()
    tick.forward(FRESH_S + 1)
    for _ in range(20):
        assert await reason(who, good) == "accepted"
        assert await reason(who, token(own)) == "accepted"
    assert own.hits() == before + 1
    # A key nobody has seen may be a new one: no reason to send its owner to sign in again.
    with pytest.raises(IssuerUnavailable):
        await ask(who, own_header(good, "who-knows"))
    tick.forward(STALE_S)
    with pytest.raises(IssuerUnavailable):
        await ask(who, good)


@pytest.mark.parametrize("slow", ["hangs", "drips"])
async def test_an_issuer_that_takes_its_time(who: Composed, own: Oidc, slow: str) -> None:
    good = token(own)
    own.jwks(*(["ok"] if slow == "hangs" else ["drip"]), delay_ms=6_000 if slow == "hangs" else 0)
    found = await asyncio.gather(*(ask(who, good) for _ in range(5)), return_exceptions=True)
    assert {type(each) for each in found} == {IssuerUnavailable}


async def test_a_secret_among_the_keys_is_no_key(who: Composed, own: Oidc) -> None:
    own.jwks("oct")
    assert await reason(who, token(own)) == "accepted"
    assert await reason(who, own_header(token(own), "shared")) == "key"


async def test_one_who_gives_up_does_not_stop_the_others(who: Composed, own: Oidc) -> None:
    good = token(own)
    own.jwks("ok", delay_ms=300)
    first = asyncio.create_task(ask(who, good))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(ask(who, good))
    await asyncio.sleep(0.05)
    first.cancel()
    assert (await second).audience == INVENTORY


# -- which keys count --------------------------------------------------------------------------

RSA = RSAKey.generate_key(2048).as_dict(private=False) | {"kid": "r"}
EC = ECKey.generate_key("P-256").as_dict(private=False) | {"kid": "e"}
ED = OKPKey.generate_key("Ed25519").as_dict(private=False) | {"kid": "d"}
WEAK = {**RSA, "n": "w" * 171}
USELESS = {
    "short": WEAK,
    "exponent 1": {**RSA, "e": "AQ"},
    "no name": {name: value for name, value in RSA.items() if name != "kid"},
    "to encrypt": {**RSA, "use": "enc"},
    "to sign only": {**RSA, "key_ops": ["sign"]},
    "another curve": ECKey.generate_key("P-384").as_dict(private=False) | {"kid": "p"},
    "to agree": OKPKey.generate_key("X25519").as_dict(private=False) | {"kid": "x"},
    "symmetric": {"kty": "oct", "k": "c2VjcmV0", "kid": "o"},
    "for another algorithm": {**RSA, "alg": "RS512"},
    "of another family": {**RSA, "alg": "ES256"},
    "off the curve": {**EC, "y": EC["x"]},
    "a number": {**RSA, "n": 7},
    "padded": {**RSA, "n": RSA["n"] + "="},
    "nothing": {},
}


@pytest.mark.parametrize("key", [pytest.param(key, id=name) for name, key in USELESS.items()])
def test_useless_keys(key: dict[str, object]) -> None:
    assert usable({"keys": [key]}) == {}


def test_useful_keys() -> None:
    found = usable({"keys": [RSA, EC, ED, USELESS["nothing"], "text", None, [RSA]]})
    assert sorted(found) == ["d", "e", "r"]
    assert found["r"][0].fits("RS256")
    assert found["r"][0].fits("PS256")
    assert not found["r"][0].fits("ES256")
    assert found["d"][0].fits("EdDSA")
    assert found["d"][0].fits("Ed25519")
    assert not usable({"keys": [{**RSA, "alg": "RS256"}]})["r"][0].fits("PS256")


def test_private_members_are_left_out() -> None:
    private = RSAKey.generate_key(2048).as_dict(private=True) | {"kid": "leaked"}
    assert not usable({"keys": [private]})["leaked"][0].key.is_private


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": [RSA] * 101}])
def test_documents_that_are_none(document: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        usable(document)


def test_two_keys_of_one_name() -> None:
    both = usable({"keys": [{**EC, "kid": "same"}, {**RSA, "kid": "same"}]})["same"]
    assert [key.fits("ES256") for key in both] == [True, False]


# -- where they are ----------------------------------------------------------------------------


class Answers:
    """Answers by URL, and what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.asked: list[str] = []

    def put(self, url: str, value: object) -> "Answers":
        self.answers[url] = value
        return self

    async def get(self, url: str) -> dict[str, object]:
        self.asked.append(url)
        if url not in self.answers:
            raise FetchFailed(url)
        found = self.answers[url]
        assert isinstance(found, dict)
        return found


async def test_discovery() -> None:
    iss = "https://login.example/realms/shop"
    answers = Answers().put(
        f"{iss}/.well-known/openid-configuration", {"issuer": iss, "jwks_uri": f"{iss}/certs"}
    ).put(f"{iss}/certs", {"keys": []})  # fmt: skip
    found = Metadata(iss, answers)  # type: ignore[arg-type]
    assert await found.jwks() == {"keys": []}
    assert await found.jwks() == {"keys": []}
    assert answers.asked == [
        "https://login.example/.well-known/oauth-authorization-server/realms/shop",
        f"{iss}/.well-known/openid-configuration", f"{iss}/certs", f"{iss}/certs",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://login.example/", "jwks_uri": "https://login.example/keys"},
        {"issuer": "https://login.example", "jwks_uri": "http://login.example/keys"},
        {"issuer": "https://login.example", "jwks_uri": "http://127.0.0.1/keys"},
        {"issuer": "https://login.example", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "https://login.example", "jwks_uri": 7},
        {"issuer": "https://login.example"},
        {"jwks_uri": "https://login.example/keys"},
    ],
)
async def test_metadata_that_is_not_believed(said: dict[str, object]) -> None:
    iss = "https://login.example"
    answers = Answers().put(f"{iss}/.well-known/oauth-authorization-server", said)
    for url in ("https://login.example/keys", "http://login.example/keys", "http://127.0.0.1/keys"):
        answers.put(url, {"keys": []})
    with pytest.raises(FetchFailed):
        await Metadata(iss, answers).jwks()  # type: ignore[arg-type]


async def test_a_broken_source_of_our_own_is_no_crash() -> None:
    async def broken() -> dict[str, object]:
        raise RuntimeError("the database is away")

    with pytest.raises(IssuerUnavailable):
        await Keys("https://shop.example", broken, tick=Tick()).find("k", "RS256")


def test_the_limit_on_a_document_leaves_room_for_real_ones() -> None:
    assert MOST_BYTES > 100 * 2_000
