"""Health, readiness and figures."""

import asyncio
import math
import re
import sqlite3
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.metrics import MetricWrapperBase
from sqlalchemy import make_url

from common import metrics
from common.settings import METRICS_FOLDER, figures_shared, metrics_folder
from common.storage import grants, schema
from tests.support import apart, unavailable
from tests.support.http import Face, a_face, on_port
from tests.support.postgres import Postgres, execute
from tests.support.shop import MovingClock, a_shop, call, settings_in, walled
from tests.support.toy import tools

ROOT: Final = Path(__file__).resolve().parents[2]
NAMED: Final = re.compile(r"\b(shop_[a-z_]+?)(_total|_bucket|_sum|_count)?\b(?:\{([^}]*)\})?")
WATCHED: Final = (
    "docs/observability.md",
    "deploy/observability/alerts.yaml",
    "deploy/observability/dashboard.json",
)


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


async def test_not_ready_while_a_servers_own_login_does_not_work(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a password that is not the role's any more every call would fail."""
    url = postgres.copy_of("walled", walled)
    apart(asyncio.run, schema.apply(url, grants.sql()))  # a copy has no rights on itself
    may = f'CONNECT ON DATABASE "{make_url(url).database}"'
    await execute(make_url(url), f"REVOKE {may} FROM shop_inventory")
    http = on_port(settings_in(tmp_path)).http
    async with (
        a_shop(tmp_path, http=http, database_url=url, database_roles=True) as shop,
        a_face(shop, [tools]) as face,
        face.browser() as browser,
    ):
        answer = await browser.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["database"]) == (503, False)
        assert "permission denied for database" in caplog.text
        await execute(make_url(url), f"GRANT {may} TO shop_inventory")
        assert (await browser.get("/readyz")).status_code == 200
    postgres.drop_database(url)


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


async def test_figures_are_not_for_a_name_that_was_made_to_lead_here(face: Face) -> None:
    """A page in an operator's browser may own such a name (DNS rebinding); an address it cannot."""
    names = {
        "rebound.evil.example": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
        "[": 421, "10.0.0.7:9000": 200, "[fd00::7]:9000": 200, "localhost:9000": 200,
    }  # fmt: skip
    async with face.browser() as browser:
        for name, status in names.items():
            answer = await browser.get("/metrics", headers={"Host": name})
            assert answer.status_code == status, name
        assert (await browser.get("/healthz", headers={"Host": "probe.example"})).is_success


async def test_sessions_are_counted_while_they_are_open(face: Face) -> None:
    async def figure() -> str:
        async with face.browser() as browser:
            return (await browser.get("/metrics")).text

    async with face.client("inventory", "inventory:read", mode="legacy") as client:
        await call(client, "peek")
        assert 'shop_http_sessions{server="inventory"} 1.0' in await figure()
    assert 'shop_http_sessions{server="inventory"} 0.0' in await figure()


@pytest.mark.parametrize("page", WATCHED)
def test_what_watches_names_figures_and_labels_there_are(page: str) -> None:
    """A figure or label nobody writes makes an alert that never fires, and says nothing."""
    labels = {each._name: set(each._labelnames) for each in every_figure()}
    found = NAMED.findall((ROOT / page).read_text().replace('\\"', '"'))
    assert found
    for name, _, selected in found:
        assert name in labels, name
        assert set(re.findall(r"([a-z_]+)(?=[=!~]|,|$)", selected)) <= labels[name], name
    if page.startswith("docs"):
        assert {name for name, _, _ in found} == set(labels)


def every_figure() -> list[MetricWrapperBase]:
    return [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]


def test_workers_figures_meet_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapped file on a full disk kills whoever touches it."""
    if not Path("/dev/shm").is_dir():
        unavailable("there is no /dev/shm here")
    monkeypatch.setenv(METRICS_FOLDER, "")
    with figures_shared(2):
        folder = metrics_folder()
        assert folder is not None
        assert folder.parent == Path("/dev/shm")


async def figure(face: Face, series: str) -> float:
    async with face.browser() as browser:
        text = (await browser.get("/metrics")).text
    return float(re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)[0])


async def test_no_disk_is_watched_where_the_database_is_no_file(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure of 0 would be a full disk for ever."""
    monkeypatch.setattr("common.http.health.free_bytes", lambda shop: None)
    assert math.isnan(await figure(face, "shop_storage_free_bytes"))


async def test_what_is_not_anchored_grows_old_also_when_the_file_is_lost(tmp_path: Path) -> None:
    clock = MovingClock()
    http = on_port(settings_in(tmp_path)).http
    async with a_shop(tmp_path, http=http, clock=clock) as shop, a_face(shop, [tools]) as face:
        async with face.client("inventory", "inventory:write") as client:
            await call(client, "never")
        clock.forward(minutes=20)
        age = "shop_anchor_age_seconds"
        assert await figure(face, age) >= 1200
        await shop.housekeeping.anchor(force=True)
        clock.forward(minutes=20)
        assert await figure(face, age) == 0, "nothing new has come"
        shop.settings.anchor_file.unlink()
        assert await figure(face, age) >= 2400


async def test_what_waited_for_a_provider_is_gone_with_several_workers(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a label that was written once stays."""
    waiting = 'shop_outbox_waiting{port="gateway",state="unknown"}'
    monkeypatch.setattr(metrics.OUTBOX, "clear", lambda: None)
    metrics.OUTBOX.labels("gateway", "unknown").set(3)
    assert await figure(face, waiting) == 0


async def test_a_first_crash_is_an_increase(face: Face) -> None:
    """Prometheus sees none in a series that begins with 1."""
    crashed = 'shop_calls_total{outcome="internal_error",server="inventory",tool="crash"}'
    assert await figure(face, crashed) == 0
