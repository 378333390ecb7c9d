"""What checking an access token costs: the first time, and when it was seen before.

    python -m benchmarks.tokens

Alone on a core, in microseconds a token: the median of some rounds, since a shared machine is
noisy upwards only.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from common.auth.issuers import Issuer
from common.auth.jwks import Keys
from common.auth.profiles import PROFILES
from common.auth.revocation import Denials
from common.auth.tokens import MOST_REMEMBERED, Verifier
from common.clock import utc_now
from common.settings import Settings
from common.shop import Shop

ISSUER = "https://login.example"
AUDIENCE = "https://shop.example/inventory/mcp"
ROUNDS, COLD, WARM = 7, 300, 5_000
KEYS: dict[str, Any] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "RS256"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "ES256"}),
    "Ed25519": OKPKey.generate_key("Ed25519", {"kid": "Ed25519"}),
}


def token(algorithm: str, number: int) -> bytes:
    """A token as an authorization server writes it."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "sub": "ana@example.com", "aud": AUDIENCE, "client_id": "desktop",
        "iat": now, "exp": now + 3_600, "jti": f"{algorithm}-{number}",
        "scope": "inventory:read inventory:write",
    }  # fmt: skip
    header = {"alg": algorithm, "typ": "at+jwt", "kid": algorithm}
    return jwt.encode(header, claims, KEYS[algorithm], algorithms=[algorithm]).encode()


async def measured(shop: Shop) -> dict[str, float]:
    """Median microseconds by what was done."""
    published = {"keys": [key.as_dict(private=False) for key in KEYS.values()]}

    async def fetch() -> dict[str, Any]:
        return published

    verifier = Verifier(
        [Issuer(ISSUER, PROFILES["rfc9068"])], {ISSUER: Keys(ISSUER, fetch)},
        Denials(shop.database, utc_now), clock=utc_now,
    )  # fmt: skip
    found: dict[str, float] = {}
    for algorithm in KEYS:
        held = [token(algorithm, number) for number in range(ROUNDS * COLD)]
        found[f"{algorithm}, first time"] = await _each(
            lambda n, held=held: verifier.verify(held[n], AUDIENCE), COLD
        )
    many = [token("ES256", -number) for number in range(1, MOST_REMEMBERED // 2)]
    for each in many:
        await verifier.verify(each, AUDIENCE)
    found["seen before"] = await _each(
        lambda n: verifier.verify(many[n % len(many)], AUDIENCE), WARM
    )
    return found


async def _each(work: Callable[[int], Awaitable[object]], count: int) -> float:
    rounds = []
    for turn in range(ROUNDS):
        begun = time.thread_time()
        for number in range(count):
            await work(turn * count + number)
        rounds.append((time.thread_time() - begun) / count * 1e6)
    return statistics.median(rounds)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({"SHOP_HOME": folder})
        shop = await Shop.open(replace(settings, home=Path(folder)))
        try:
            for what, microseconds in (await measured(shop)).items():
                print(f"{what:22} {microseconds:8.1f} µs")
        finally:
            await shop.close()


if __name__ == "__main__":
    asyncio.run(main())
