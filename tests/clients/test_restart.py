"""shop audit restart, and what is refused at a terminal: both on record."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from clients.cli import app
from common.approvals import approvers
from common.audit import anchors
from common.audit.anchors import AnchorsBroken, read
from common.audit.chain import heads
from common.audit.verify import verify
from common.errors import NotAuthenticated, ShopError
from common.incoming import Request
from common.keys import anchor_key
from common.shop import Shop
from common.tables.spine import AuditRecord
from tests.support import toy
from tests.support.shop import a_shop, actor, do, look

CAROL, DAVE, ANA = "carol@example.com", "dave@example.com", "ana@example.com"
PASSPHRASE = "five random words would do"
WHY = "disk failed, last night's copy put back"


class Home:
    """A toy shop with an approver, its commands, and its file in hand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "anchors.jsonl"
        self.typed = PASSPHRASE

    def run(self, *command: str) -> Result:
        variables = {"SHOP_HOME": str(self.folder), "SHOP_OPERATOR": ANA, "COLUMNS": "200"}
        return CliRunner().invoke(app, command, env=variables)

    def restart(self, *more: str) -> Result:
        return self.run("audit", "restart", "--reason", WHY, "--as", CAROL, *more)

    def shop(self, work: Callable[[Shop], Any]) -> Any:
        async def go() -> Any:
            async with a_shop(self.folder, policy_file=self.folder / "policy.toml") as shop:
                return await work(shop)

        return asyncio.run(go())

    def take(self, *quantities: int) -> None:
        async def work(shop: Shop) -> None:
            for quantity in quantities:
                await shop.guard.call(
                    Request(toy.tools.tools["take"], {"quantity": quantity}, actor())
                )

        self.shop(work)

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.folder / "shop.db", isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    def kept(self) -> bytes:
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return (self.folder / "shop.db").read_bytes()

    def put_back(self, content: bytes) -> None:
        for leftover in self.folder.glob("shop.db-*"):
            leftover.unlink()
        (self.folder / "shop.db").write_bytes(content)

    def records(self) -> list[dict[str, Any]]:
        return list(
            self.shop(
                lambda shop: look(
                    shop,
                    lambda s: [r.record for r in s.query(AuditRecord).order_by(AuditRecord.seq)],
                )
            )
        )

    def verified(self, **known: Any) -> Any:
        key = anchor_key(self.folder / "keys").public_key()
        return self.shop(lambda shop: look(shop, lambda s: verify(s, self.file, key, **known)))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    toy.policy_in(tmp_path)
    made = Home(tmp_path)
    monkeypatch.setattr("clients.commands.audit.ask_passphrase", lambda prompt: made.typed)
    monkeypatch.setattr("clients.commands.approvers.ask_passphrase", lambda prompt: made.typed)

    async def begin(shop: Shop) -> None:
        who = (CAROL, "Carol", PASSPHRASE, "")
        await do(shop, "*", lambda c: approvers.enroll(c.session, *who, c.now, n=2**4))
        await do(shop, "inventory", toy.stocked)

    made.shop(begin)
    made.take(1)
    return made


@pytest.fixture
def restored(home: Home) -> Home:
    """Two records were made and anchored after the copy that is back now."""
    copy = home.kept()
    home.take(2, 3)
    assert home.run("audit", "anchor").exit_code == 0
    home.put_back(copy)
    return home


def refused(home: Home, result: Result, code: str, words: str) -> None:
    """Typed, on record as refused, and the anchors are as they were."""
    assert isinstance(result.exception, ShopError), result.output
    assert result.exception.code == code
    assert words in str(result.exception)
    said = home.records()[-1]
    assert (said["tool"], said["outcome"], said["error"]) == ("audit_restart", "refused", code)
    assert said["actor"]["sub"] == CAROL
    assert list(home.folder.glob("anchors.until-*")) == []


@pytest.mark.parametrize("anchored_since", [False, True])
def test_an_older_database_is_accepted_by_an_approver(restored: Home, anchored_since: bool) -> None:
    assert restored.run("audit", "verify").exit_code == 1
    if anchored_since:  # as housekeeping does when servers are up again
        assert restored.run("audit", "anchor").exit_code == 0
        assert restored.run("audit", "verify").exit_code == 1
    old = restored.file.read_bytes()
    digest = anchors.last(restored.file).digest  # type: ignore[union-attr]
    records = len(restored.records())
    made = restored.restart("--json")
    assert made.exit_code == 0, made.output + str(made.exception)
    done = json.loads(made.stdout)
    assert done["lost"] == 2
    assert (restored.folder / done["kept"]).read_bytes() == old
    told = restored.run("audit", "verify")
    assert (told.exit_code, f"begun anew: {done['record']}" in told.stdout) == (0, True), told
    said = restored.records()
    assert len(said) == records + 1, "the record itself, and nothing but it"
    (effect,) = said[-1]["effects"]
    assert said[-1]["actor"]["sub"] == CAROL
    assert (effect["op"], effect["id"], effect["reason"]) == ("restart", digest, WHY)
    assert (effect["kept_as"], effect["last_digest"]) == (done["kept"], digest)
    assert restored.verified(known_anchor=digest).ok, "who kept the old digest still finds it"
    assert not restored.verified(known_anchor="ab" * 32).ok
    restored.take(4)
    assert restored.run("audit", "anchor").exit_code == 0
    report = restored.verified()
    assert (report.exit_code, report.anchors, report.begun_anew) == (0, 2, done["record"])


def test_the_statement_is_signed(restored: Home) -> None:
    assert restored.restart().exit_code == 0
    said = restored.records()[-1]
    effect = dict(said["effects"][0])
    signature = effect.pop("signature")
    for name in ("op", "type", "id"):
        effect.pop(name)
    statement = effect | {"at": said["ts"]}

    async def holds(shop: Shop) -> tuple[bool, bool]:
        carol = await look(shop, lambda s: approvers.find(s, CAROL))
        other = statement | {"reason": "something else"}
        return tuple(  # type: ignore[return-value]
            approvers.signed_by(carol, each, signature) for each in (statement, other)
        )

    assert restored.shop(holds) == (True, False)


def test_what_was_begun_anew_is_watched_as_before(restored: Home) -> None:
    """The same again: an older copy put back after the restart is found, and so is a record of the
    restart that was cut off with it."""
    before = restored.kept()
    assert restored.restart().exit_code == 0
    restored.take(5)
    assert restored.run("audit", "anchor").exit_code == 0
    restored.put_back(before)
    report = restored.verified()
    assert report.exit_code == 1
    assert restored.restart().exit_code == 0
    assert len(list(restored.folder.glob("anchors.until-*"))) == 2
    assert restored.verified().ok


def test_nothing_to_begin_anew(home: Home) -> None:
    refused(home, home.restart(), "rule_violation", "There is no anchors file")
    home.run("audit", "anchor")
    refused(home, home.restart(), "rule_violation", "The anchors hold")


def test_a_broken_chain_is_not_papered_over(restored: Home) -> None:
    with closing(sqlite3.connect(restored.folder / "shop.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        drops = [f'DROP TRIGGER "{name}"' for (name,) in names.fetchall()]
    changed = "UPDATE audit_record SET record = json_set(record, '$.tool', 'x') WHERE seq = 2"
    restored.sql(*drops, changed)
    refused(restored, restored.restart(), "rule_violation", "The chain itself is broken")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-10] + b"x" * 9 + b"\n", lambda b: b""], ids=["damaged", "emptied"]
)
def test_damaged_anchors_are_not_replaced(restored: Home, damage: Callable[[bytes], bytes]) -> None:
    restored.file.write_bytes(damage(restored.file.read_bytes()))
    refused(restored, restored.restart(), "rule_violation", "The anchors file")


def test_only_an_approver_with_the_passphrase(restored: Home) -> None:
    restored.typed = "five other words will not"
    refused(restored, restored.restart(), "not_authenticated", "does not match")
    restored.typed = PASSPHRASE
    nobody = restored.run("audit", "restart", "--reason", WHY, "--as", "eve@example.com")
    assert isinstance(nobody.exception, ShopError)
    assert nobody.exception.code == "not_found"
    assert restored.records()[-1]["outcome"] == "refused"
    empty = restored.run("audit", "restart", "--reason", " ", "--as", CAROL)
    refused(restored, empty, "invalid_parameters", "reason")


def test_a_revoked_approver_begins_nothing_anew(restored: Home) -> None:
    async def revoked(shop: Shop) -> None:
        carol = await look(shop, lambda s: approvers.find(s, CAROL))
        key = approvers.unlock(carol, PASSPHRASE)
        who = (DAVE, "Dave", "five quite other words", CAROL)
        await do(shop, "*", lambda c: approvers.enroll(c.session, *who, c.now, voucher=key, n=2**4))
        await do(shop, "*", lambda c: approvers.revoke(c.session, CAROL, CAROL, c.now, voucher=key))

    restored.shop(revoked)
    before = restored.file.read_bytes()
    refused(restored, restored.restart(), "approval_invalid", "")
    # The refusal is on record, and anchored as any other; what was there before still is.
    assert restored.file.read_bytes().startswith(before)


def test_a_first_line_without_its_record_is_no_beginning(restored: Home) -> None:
    """Who has the key and not the approver cannot quietly write such a file."""
    key = anchor_key(restored.folder / "keys")
    now = restored.shop(lambda shop: look(shop, heads))
    line = anchors.first_of(
        key, anchors.last(restored.file).at, now,  # type: ignore[union-attr]
        anchors.After("ab" * 32, "aud_never"),
    )  # fmt: skip
    whole = restored.file.read_bytes()
    restored.file.write_bytes(line + b"\n")
    bad = restored.verified().first_bad
    assert "the record of it is not there" in bad.why
    restored.file.write_bytes(whole + line + b"\n")
    with pytest.raises(AnchorsBroken, match="line 2"):
        list(read(restored.file, key.public_key()))


# -- refusals at a terminal ------------------------------------------------------------------------


def last_two(home: Home, *command: str) -> tuple[str, dict[str, Any]]:
    result = home.run(*command)
    assert isinstance(result.exception, ShopError), result.output
    return result.exception.code, home.records()[-1]


@pytest.mark.parametrize(
    ("command", "tool", "code", "who"),
    [
        (("enroll", "eve@example.com"), "approver_enroll", "approval_invalid", "eve@example.com"),
        (("enroll", CAROL, "--by", CAROL), "approver_enroll", "conflict", CAROL),
        (
            ("enroll", "eve@example.com", "--by", "nobody@example.com"),
            "approver_enroll", "not_found", "nobody@example.com",
        ),
        (("revoke", CAROL, "--by", CAROL), "approver_revoke", "rule_violation", CAROL),
        (("revoke", "eve@example.com", "--by", CAROL), "approver_revoke", "not_found", CAROL),
    ],
)  # fmt: skip
def test_refused_enrolment_and_revocation_are_on_record(
    home: Home, command: tuple[str, ...], tool: str, code: str, who: str
) -> None:
    before = len(home.records())
    said, record = last_two(home, "approver", *command)
    assert said == code
    assert (record["tool"], record["outcome"], record["error"]) == (tool, "refused", code)
    assert record["actor"]["sub"] == who
    assert len(home.records()) == before + 1
    active = home.shop(lambda shop: look(shop, lambda s: [a.subject for a in approvers.active(s)]))
    assert active == [CAROL], "nothing changed"


@pytest.mark.parametrize("command", ["enroll", "revoke"])
def test_a_wrong_passphrase_of_who_vouches_is_on_record(home: Home, command: str) -> None:
    home.typed = "five other words will not"
    code, record = last_two(home, "approver", command, DAVE, "--by", CAROL)
    assert code == NotAuthenticated.code
    assert (record["tool"], record["error"]) == (f"approver_{command}", code)
    assert home.typed not in json.dumps(record)
