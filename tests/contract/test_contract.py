"""What hosts were promised does not change unnoticed."""

import pytest

from servers.run import DOMAINS
from tests.contract.snapshot import offered, path, text


@pytest.mark.parametrize("domain", DOMAINS)
async def test_contract(domain: str) -> None:
    frozen = path(domain).read_text()
    assert text(await offered(domain)) == frozen, (
        f"{domain} offers something else than {path(domain).name} says; "
        "if that is meant, run: make snapshot"
    )
