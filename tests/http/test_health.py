"""Health, readiness and figures."""

import sqlite3
from pathlib import Path

from tests.support.http import Face, a_face, on_port
from tests.support.shop import a_shop, call, settings_in
from tests.support.toy import tools


async def test_the_process_lives_and_is_ready(face: Face) -> None:
    async with face.browser() as browser:
        alive = await browser.get("/healthz", headers={"Host": "10.0.0.7:9000"})
        assert alive.json() == {"status": "ok"}
        ready = await browser.get("/readyz")
        assert ready.status_code == 200
        expected = {"database": True, "schema": True, "keys": True, "room": True}
        assert ready.json()["checks"] == expected


async def test_not_ready_on_a_database_it_does_not_know(tmp_path: Path) -> None:
    http = on_port(settings_in(tmp_path)).http
    async with a_shop(tmp_path, http=http) as shop, a_face(shop, [tools]) as face:
        with sqlite3.connect(tmp_path / "shop.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        async with face.browser() as browser:
            answer = await browser.get("/readyz")
        assert answer.status_code == 503
        expected = {"database": True, "schema": False, "keys": True, "room": True}
        assert answer.json()["checks"] == expected


async def test_figures_count_calls_and_refusals(face: Face) -> None:
    async with face.client("inventory", "inventory:write") as client:
        await call(client, "peek")
        await call(client, "never")
    async with face.browser() as browser:
        await browser.post("/inventory/mcp", json={})
        text = (await browser.get("/metrics")).text
        assert 'shop_calls_total{outcome="ok",server="inventory",tool="peek"}' in text
        assert 'shop_calls_total{outcome="policy_denied",server="inventory",tool="never"}' in text
        assert 'reason="no_credentials",server="inventory",status="401"' in text
        assert "shop_approvals_pending 0.0" in text
        for name in ("X-Forwarded-For", "Forwarded"):
            refused = await browser.get("/metrics", headers={name: "192.0.2.7"})
            assert refused.status_code == 403
