"""The wall in PostgreSQL: what a server's login cannot do by any SQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from common.call import Call
from common.errors import PolicyDenied
from common.incoming import Done, Request, Waiting
from common.rules import paid
from common.shop import Shop
from common.storage import grants, schema
from common.storage.database import WRITERS, Database
from common.tables.auth_server import ApiKey, AuthKey, AuthUser
from common.tables.auth_tokens import AuthDenial
from common.tables.orders import Customer
from common.tables.payments import Payment, PaymentMethod
from common.tables.spine import ApprovalRequest
from common.tables.whole import tables
from servers.run import DOMAINS
from tests.support import apart, toy
from tests.support.postgres import Postgres
from tests.support.shop import MovingClock, a_shop, actor, do, look, walled


@pytest.fixture(scope="session")
def walled_url(postgres: Postgres) -> Iterator[str]:
    """A database with every role's rights, and one payment of 100.00 in it."""
    url = postgres.copy_of("walled", walled)
    asyncio.run(schema.apply(url, grants.sql()))  # a copy has no rights on itself
    asyncio.run(_seed(url))
    yield url
    postgres.drop_database(url)


async def _seed(url: str) -> None:
    database = Database(url)
    shop: Any = type("Seeding", (), {"database": database, "guard": None})
    shop.guard = type("Clocked", (), {"clock": staticmethod(MovingClock())})
    await do(shop, "*", toy.stocked)
    await do(shop, "*", _paid)
    await database.close()


def _paid(call: Call) -> None:
    call.add(
        Customer(
            id="cus-1",
            email="cus@example.com",
            first_name="C",
            name_key="c c",
            last_name="C",
            created_at=call.now,
        )
    )
    call.add(
        PaymentMethod(
            id="card-1", customer_id="cus-1", kind="card", brand="visa", last4="4242",
            created_at=call.now,
        )
    )  # fmt: skip
    terms: dict[str, Any] = {
        "order_id": None, "customer_id": "cus-1", "method_id": "card-1", "amount_minor": 10_000,
        "currency": "EUR", "purpose": "membership",
    }  # fmt: skip
    for server in ("payments", "inventory"):
        call.session.add(
            ApprovalRequest(
                id=f"apr-{server}", server=server, tool="x", level=2, needed=1, state="pending",
                digest="", args_digest="", preview={}, reason="", requester="local|ana",
                requester_client="x", requester_scopes=[], policy_rule="", created_at=call.now,
                expires_at=call.now + timedelta(days=1), closed_at=None,
            )
        )  # fmt: skip
    paid.charge(call, payment_id="pay-1", **terms)
    paid.authorize(call, expires_at=call.now + timedelta(hours=1), **terms)


async def as_role(url: str, role: str) -> asyncpg.Connection:
    plain = make_url(url).set(drivername="postgresql", username=role)
    return await asyncpg.connect(plain.render_as_string(hide_password=False))


@pytest.fixture
async def inventory(walled_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await as_role(walled_url, "shop_inventory")
    yield connection
    await connection.close()


MONEY = "(SELECT id FROM account WHERE ledger = 'money/EUR' AND code = 'payment:pay-1')"
CLEARING = "(SELECT id FROM account WHERE ledger = 'money/EUR' AND code LIKE 'clearing%' LIMIT 1)"
SHELF = "(SELECT id FROM account WHERE ledger = 'units/widget' AND code = 'WH-1/available')"
SUPPLIER = "(SELECT id FROM account WHERE ledger = 'units/widget' AND code = 'supplier')"
HELD = "(SELECT transfer_id FROM payment WHERE status = 'authorized')"
COLUMNS = "id, ledger, debit_id, credit_id, amount, kind, code, reference, pending_id, at, audit_id"


def posting(code: str, ledger: str, debit: str, credit: str, kind: str = "posted",
            pending: str = "NULL") -> str:  # fmt: skip
    return (
        f"INSERT INTO transfer ({COLUMNS}) SELECT 'tra_forged', '{ledger}', {debit}, {credit}, 1,"
        f" '{kind}', '{code}', 'x', {pending}, now(), audit_id FROM payment WHERE id = 'pay-1'"
    )


ATTEMPTS = [
    "INSERT INTO payment SELECT * FROM payment",
    "INSERT INTO refund (id, version, audit_id) VALUES ('re_1', 1, 'x')",
    "INSERT INTO payment SELECT * FROM payment ON CONFLICT (id) DO UPDATE SET amount_minor = 1",
    "UPDATE payment SET amount_minor = 1",
    "UPDATE payment SET amount_minor = 1 FROM product WHERE true",
    "UPDATE ONLY payment SET status = 'refunded' WHERE id = 'pay-1'",
    "DELETE FROM payment",
    "DELETE FROM payment USING product",
    "TRUNCATE payment",
    "TRUNCATE product CASCADE",
    "MERGE INTO payment p USING product ON true WHEN MATCHED THEN UPDATE SET amount_minor = 1",
    "WITH moved AS (UPDATE payment SET amount_minor = 1 RETURNING id) SELECT * FROM moved",
    "EXPLAIN ANALYZE UPDATE payment SET amount_minor = 1",
    "PREPARE steal AS UPDATE payment SET amount_minor = 1; EXECUTE steal",
    "SELECT * FROM payment FOR UPDATE",
    "BEGIN; LOCK TABLE payment IN ACCESS EXCLUSIVE MODE",
    "COPY payment FROM '/dev/null'",
    "COPY payment FROM PROGRAM 'echo'",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "DO $$ BEGIN UPDATE payment SET amount_minor = 1; END $$",
    "DO $$ BEGIN EXECUTE 'DELETE FROM payment'; END $$",
    "SET ROLE shop_payments",
    "SET ROLE shop_keeper",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION shop_payments",
    "SELECT set_config('role', 'shop_payments', false)",
    "RESET ROLE; UPDATE payment SET amount_minor = 1",
    "SET session_replication_role = replica",
    "SET row_security = off; UPDATE account SET debits_posted = 0 WHERE ledger = 'money/EUR'",
    "ALTER ROLE shop_inventory SUPERUSER",
    "ALTER ROLE shop_payments PASSWORD 'mine'",
    "CREATE ROLE helper SUPERUSER",
    "GRANT shop_payments TO shop_inventory",
    "ALTER TABLE payment OWNER TO shop_inventory",
    "ALTER TABLE transfer DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE transfer DISABLE TRIGGER ALL",
    "DROP POLICY shop_inventory_posts ON transfer",
    "CREATE POLICY mine ON account TO shop_inventory USING (true)",
    "ALTER TABLE product ADD CONSTRAINT x FOREIGN KEY (id) REFERENCES payment ON DELETE CASCADE",
    "CREATE TABLE mine (id text)",
    "CREATE TEMP TABLE payment (id text)",
    "CREATE VIEW mine AS SELECT * FROM payment",
    "CREATE RULE mine AS ON UPDATE TO product DO ALSO UPDATE payment SET amount_minor = 1",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql SECURITY DEFINER AS"
    " 'UPDATE payment SET amount_minor = 1'",
    "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql AS 'DELETE FROM payment'; SELECT f()",
    "CREATE OR REPLACE FUNCTION shop_fits(text, text, text, text, text, bigint, text)"
    " RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE TRIGGER t BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE EXTENSION dblink",
    "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION refuse_change()",
    "UPDATE pg_class SET relowner = (SELECT oid FROM pg_roles WHERE rolname = 'shop_inventory')",
    "UPDATE pg_authid SET rolsuper = true",
    "SELECT pg_read_file('postgresql.conf')",
    "ALTER SYSTEM SET log_statement = 'all'",
    # the ledgers
    posting("refund", "money/EUR", MONEY, CLEARING),
    posting("receive", "money/EUR", MONEY, CLEARING),
    posting("opening", "money/EUR", CLEARING, MONEY),
    posting("receive", "units/widget", MONEY, CLEARING),
    posting("receive", "units/widget", SHELF, CLEARING),
    posting("receive", "units/widget", SUPPLIER, SHELF),
    posting("reserve", "units/widget", SHELF, SUPPLIER, "pending"),
    posting("expire", "money/EUR", CLEARING, MONEY, "expire", HELD),
    posting("unreserve", "units/widget", SHELF, SUPPLIER, "void", HELD),
    posting("unreserve", "money/EUR", CLEARING, MONEY, "void", HELD),
    "UPDATE transfer SET amount = 1",
    "DELETE FROM transfer",
    "UPDATE account SET side = 'none' WHERE ledger = 'units/widget'",
    "UPDATE account SET ledger = 'money/EUR' WHERE ledger = 'units/widget'",
    "INSERT INTO account SELECT 'acc_x', 'money/EUR', 'payment:x', side, 1, 0, 0, 0 FROM account",
    "INSERT INTO account VALUES ('acc_x', 'units/widget', 'WH-9/available', 'none', 9, 0, 0, 0)",
    "INSERT INTO open_pending (transfer_id) SELECT transfer_id FROM payment WHERE id = 'pay-1'",
    # the spine
    "INSERT INTO audit_record SELECT 'aud_x', 63, 9, now(), '{\"server\": \"payments\"}', '', ''",
    "UPDATE audit_record SET record = '{}'",
    "DELETE FROM audit_record",
    "SELECT * FROM audit_record",
    "SELECT * FROM audit_payload",
    "INSERT INTO stored_result SELECT 'x', 'payments', 'refund', '', '{}', now(), ''",
    "INSERT INTO approval_request SELECT * FROM approval_request",
    "UPDATE approval_request SET state = 'approved'",
    "UPDATE approval_request SET state = 'used' WHERE server = 'payments'",
    "UPDATE approval_request SET requester = 'me'",
    "INSERT INTO approval_decision SELECT 'x', id, 'me', '', 'approve', '', now() FROM"
    " approval_request",
    "INSERT INTO approver SELECT * FROM approver",
]  # fmt: skip
NOTHING_FOUND = [
    "GRANT UPDATE ON payment TO shop_inventory; UPDATE account SET debits_posted = 0"
    " WHERE ledger = 'money/EUR'",
    "UPDATE account SET debits_posted = debits_posted + 1 WHERE ledger LIKE 'money/%'",
    "DELETE FROM open_pending WHERE transfer_id IN (SELECT transfer_id FROM payment)",
    "UPDATE open_pending SET expires_at = now() WHERE transfer_id IN"
    " (SELECT transfer_id FROM payment)",
    "UPDATE stored_result SET at = now() WHERE server = 'payments'",
]


async def refused(connection: asyncpg.Connection, attempt: str) -> bool:
    """Whether it was, and for want of a right, not by a mistake in the attempt."""
    try:
        await connection.execute(attempt)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError):
        return True
    finally:
        await connection.execute("ROLLBACK; RESET ALL")
    return False


async def money(url: str) -> dict[str, Any]:
    """Everything of the payments server, as its owner sees it."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            names = [name for name, kind in tables().items() if kind.owner == "payments"]
            wanted = [f"SELECT * FROM {name} ORDER BY id" for name in names]
            wanted += ["SELECT * FROM transfer ORDER BY id", "SELECT * FROM account ORDER BY id",
                       "SELECT * FROM open_pending ORDER BY 1", "SELECT * FROM approval_request",
                       "SELECT * FROM audit_record ORDER BY id"]  # fmt: skip
            return {
                query: [tuple(map(str, row)) for row in await connection.execute(text(query))]
                for query in wanted
            }
    finally:
        await engine.dispose()


async def test_the_inventory_role_cannot_write_payments_by_any_sql(
    inventory: asyncpg.Connection, walled_url: str
) -> None:
    before = await money(walled_url)
    assert before["SELECT * FROM payment ORDER BY id"], "there is something to steal"
    passed = [attempt for attempt in ATTEMPTS if not await refused(inventory, attempt)]
    assert passed == []
    for attempt in NOTHING_FOUND:
        assert (await inventory.execute(attempt)).endswith(" 0"), attempt
    assert await money(walled_url) == before


async def test_the_storefront_sees_no_approvals_of_others_and_little_of_payments(
    walled_url: str,
) -> None:
    connection = await as_role(walled_url, "shop_storefront")
    try:
        for table in ("payment_hold", "dispute", "payout", "provider_event", "claim", "rma",
                      "audit_record", "access_record", "purchase_order", "item_cost"):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT 1 FROM {table}")
        assert await connection.fetch("SELECT * FROM approval_request") == []
        assert await connection.fetch("SELECT * FROM variant") == []
    finally:
        await connection.close()


def test_the_roles_are_those_of_the_servers() -> None:
    assert set(grants.SERVERS) == set(DOMAINS)
    assert {grants.role_of(domain) for domain in ("*", "approvals", "import")} == {grants.KEEPER}


async def test_rights_are_what_the_tables_say(walled_url: str) -> None:
    """PostgreSQL's own word on every role and table, against the check in Python."""
    connection = await as_role(walled_url, "postgres")
    try:
        for name, kind in tables().items():
            for server in grants.SERVERS:
                may = await connection.fetchval(
                    "SELECT has_any_column_privilege($1, $2, 'INSERT')",
                    grants.role_of(server), name,
                )  # fmt: skip
                if kind.owner in grants.SERVERS:
                    assert may == (server in WRITERS[name]), (server, name)
            reads = await connection.fetchval(
                "SELECT has_any_column_privilege($1, $2, 'INSERT, UPDATE')"
                " OR has_table_privilege($1, $2, 'DELETE, TRUNCATE, TRIGGER')",
                grants.READER, name,
            )  # fmt: skip
            assert reads is False, name
        listed = await connection.fetch(
            "SELECT tgrelid::regclass::text AS name FROM pg_trigger WHERE tgname LIKE '%_no_change'"
        )
        append_only = {row["name"] for row in listed}
        assert append_only == grants.APPEND_ONLY
        for name in append_only:
            for role in grants.roles():
                assert not await connection.fetchval(
                    "SELECT has_any_column_privilege($1, $2, 'UPDATE')"
                    " OR has_table_privilege($1, $2, 'DELETE')", role, name,
                )  # fmt: skip
    finally:
        await connection.close()


@pytest.fixture
async def shop(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop whose servers have a login each."""
    url = postgres.copy_of("walled", walled)
    clock = MovingClock()
    async with a_shop(
        tmp_path, clock=clock, database_url=url, database_roles=True,
        policy_file=toy.policy_in(tmp_path),
    ) as opened:  # fmt: skip
        await do(opened, "*", toy.stocked)
        await do(opened, "*", _paid)
        yield opened
    postgres.drop_database(url)


async def test_a_server_works_behind_the_wall(shop: Shop) -> None:
    """A change, its replay, a question, its answer, what lapses, and the record of it all."""
    take = toy.tools.tools["take"]
    plain = Request(take, {"quantity": 1, "idempotency_key": "walled-0001"}, actor())
    assert isinstance(await shop.guard.call(plain), Done)
    again = await shop.guard.call(plain)
    assert isinstance(again, Done)
    assert again.replayed
    asked = await shop.guard.call(Request(take, {"quantity": 10}, actor()))
    assert isinstance(asked, Waiting)
    await shop.guard.confirm(asked.approval_id, actor(), accepted=True)
    approved = {"quantity": 10, "approval_id": asked.approval_id}
    assert isinstance(await shop.guard.call(Request(take, approved, actor())), Done)
    shop.guard.clock.forward(hours=2)  # type: ignore[attr-defined]
    assert await shop.housekeeping.once() >= 1
    status = await look(shop, lambda s: list(s.scalars(select(Payment.status))))
    assert sorted(status) == ["captured", "expired"]


async def test_a_rule_that_reaches_across_is_stopped_by_the_database_too(shop: Shop) -> None:
    def reach(session: Any) -> None:
        # The check in Python reads statements; this one it does not see through.
        session.execute(text("DO $$ BEGIN UPDATE payment SET amount_minor = 1; END $$"))

    with pytest.raises(Exception, match="permission denied"):
        await shop.database.run("inventory", reach)


async def test_read_only_is_a_role_that_cannot_write(shop: Shop, tmp_path: Path) -> None:
    async with a_shop(
        tmp_path, database_url=shop.settings.database_url, database_roles=True, read_only=True,
        policy_file=toy.policy_in(tmp_path),
    ) as reading:  # fmt: skip
        peek = await reading.guard.call(Request(toy.tools.tools["peek"], {}, actor()))
        assert isinstance(peek, Done)
        with pytest.raises(PolicyDenied):
            await reading.guard.call(Request(toy.tools.tools["take"], {"quantity": 1}, actor()))
        for kind in (ApiKey, AuthDenial, AuthKey, AuthUser):  # who may call
            await look(reading, lambda s, kind=kind: s.scalars(select(kind)).all())
        write = text("DO $$ BEGIN DELETE FROM auth_denial; END $$")  # unseen by the check in Python
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await reading.database.run("*", lambda s: s.execute(write))
        connection = await as_role(shop.settings.database_url, grants.READER)
        try:
            await connection.execute("SET default_transaction_read_only = off")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE product SET name = 'x'")
        finally:
            await connection.close()


def test_grants_by_somebody_else_are_refused_in_words(walled_url: str) -> None:
    url = make_url(walled_url).set(username=grants.KEEPER).render_as_string(hide_password=False)
    with pytest.raises(schema.SchemaError, match="Nothing was applied"):
        apart(asyncio.run, schema.apply(url, grants.sql()))


async def test_a_server_does_not_migrate_what_it_does_not_own(
    postgres_url: str, tmp_path: Path
) -> None:
    with pytest.raises(schema.SchemaError, match="shop db upgrade"):
        async with a_shop(tmp_path, database_url=postgres_url, database_roles=True):
            pass
