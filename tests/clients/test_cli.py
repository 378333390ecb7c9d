"""The shop command as people run it: real processes, and a real terminal where one is needed."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from clients.cli import app
from clients.demo.colleague import TerminalFailed, at_terminal
from common.clock import utc_now
from common.errors import ApprovalInvalid, NotFound
from common.incoming import Done, Request, Waiting
from common.settings import inherited
from common.shop import Shop
from common.tables.spine import ApprovalRequest, AuditRecord
from tests.support import toy
from tests.support.shop import a_shop, actor, do, look

ROOT = Path(__file__).resolve().parents[2]
CAROL, DAVE = "carol@example.com", "dave@example.com"
PASSPHRASE, WRONG = "five random words would do", "five other words will not"
NEW = (("New passphrase", PASSPHRASE), ("Once more", PASSPHRASE))
YES = (("Type 100 to go on", "100"), (f"Passphrase of {CAROL}", PASSPHRASE))


def with_toys(home: Path, work: Any) -> Any:
    """Do something in the toy shop, in real time, as a server would."""

    async def go() -> Any:
        async with a_shop(home, clock=utc_now, policy_file=home / "policy.toml") as shop:
            return await work(shop)

    return asyncio.run(go())


def run(home: Path, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command without any terminal: standard input is closed unless ``input`` says otherwise."""
    return subprocess.run(
        [sys.executable, "-m", "clients.cli", *command], cwd=ROOT, text=True, capture_output=True,
        env=inherited(
            SHOP_HOME=str(home), SHOP_OPERATOR="ana@example.com", COLUMNS="200",
            PYTHONPATH=str(ROOT), **more.pop("env", {}),
        ),
        start_new_session=True, timeout=120, check=False,
        **({"stdin": subprocess.DEVNULL} if "input" not in more else {}), **more,
    )  # fmt: skip


def quick(home: Path, *command: str) -> Result:
    """The same in this process, where how a process ends is not what is tested."""
    variables = {"SHOP_HOME": str(home), "SHOP_OPERATOR": "ana@example.com", "COLUMNS": "200"}
    return CliRunner().invoke(app, command, env=variables)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy shop where Carol has been enrolled at a terminal."""
    folder = tmp_path_factory.mktemp("terminal")
    toy.policy_in(folder)

    async def stock(shop: Shop) -> None:
        await do(shop, "inventory", toy.stocked)

    with_toys(folder, stock)
    screen = at_terminal(folder, CAROL, ["approver", "enroll", CAROL], NEW)
    assert f"{CAROL} may now decide approvals." in screen
    assert PASSPHRASE not in screen, "nothing typed is shown"
    return folder


def asked(home: Path, quantity: int, *, who: str = "ana@example.com") -> str:
    """The id of a new request of level 2."""

    async def work(shop: Shop) -> str:
        request = Request(toy.tools.tools["take"], {"quantity": quantity}, actor(who))
        waiting = await shop.guard.call(request)
        assert isinstance(waiting, Waiting)
        assert waiting.level == 2
        return waiting.approval_id

    return str(with_toys(home, work))


def used(home: Path, quantity: int, id: str) -> Any:
    arguments = {"quantity": quantity, "approval_id": id}

    async def work(shop: Shop) -> Any:
        return await shop.guard.call(Request(toy.tools.tools["take"], arguments, actor()))

    return with_toys(home, work)


def state_of(home: Path, id: str) -> str:
    async def work(shop: Shop) -> str:
        query = select(ApprovalRequest.state).where(ApprovalRequest.id == id)
        return str(await look(shop, lambda s: s.scalar(query)))

    return str(with_toys(home, work))


def told(home: Path) -> list[tuple[str, str, str]]:
    """Tool, outcome and subject of every record of a terminal, oldest first."""

    async def work(shop: Shop) -> Any:
        query = select(AuditRecord.record).order_by(AuditRecord.seq)
        return [
            (said["tool"], said["outcome"], said["actor"]["sub"])
            for said in await look(shop, lambda s: list(s.scalars(query)))
            if said["actor"]["client"] == "terminal"
        ]

    found: list[tuple[str, str, str]] = with_toys(home, work)
    return found


def test_a_colleague_approves_at_a_terminal(home: Path) -> None:
    id = asked(home, 100)
    listed = run(home, "approvals", "--json")
    assert listed.returncode == 0, listed.stderr
    waiting = {item["approval_id"]: item for item in json.loads(listed.stdout)}
    assert waiting[id]["preview"]["title"] == "Take 100 of 1000 widgets"
    assert waiting[id]["requester"] == "local|ana@example.com"
    screen = at_terminal(home, CAROL, ["approve", id], YES)
    assert "Take 100 of 1000 widgets" in screen
    assert f"digest {waiting[id]['digest'][:8]}" in screen
    assert "Approved. The agent may go on" in screen
    assert PASSPHRASE not in screen
    assert used(home, 100, id) == Done({"available": 900, "reserved": 0})
    assert told(home)[-2:] == [("approval_view", "ok", CAROL), ("approval_approve", "ok", CAROL)]
    assert id not in quick(home, "approvals").stdout


def test_a_colleague_says_no(home: Path) -> None:
    id = asked(home, 101)
    screen = at_terminal(
        home, CAROL, ["reject", id, "--note", "not today"], [("Passphrase of", PASSPHRASE)]
    )
    assert "Rejected, for good. Nothing will be done." in screen
    assert "may go on" not in screen
    with pytest.raises(ApprovalInvalid) as caught:
        used(home, 101, id)
    assert caught.value.details["reason"] == "rejected"


def test_without_the_passphrase_without_the_word_without_the_right(home: Path) -> None:
    id = asked(home, 102)
    with pytest.raises(TerminalFailed, match="not_authenticated"):
        at_terminal(home, CAROL, ["approve", id, "--yes"], [(f"Passphrase of {CAROL}", WRONG)])
    assert told(home)[-1] == ("approval_approve", "refused", CAROL)
    with pytest.raises(TerminalFailed, match="Nothing was decided: 102 was expected"):
        at_terminal(home, CAROL, ["approve", id], [("Type 102 to go on", "120")])
    unknown = quick(home, "approve", id, "--as", "mallory@example.com", "--yes").exception
    assert isinstance(unknown, NotFound)
    assert "mallory@example.com" in unknown.message
    assert "--as" in unknown.next
    assert state_of(home, id) == "pending"


def test_nobody_decides_their_own_and_a_second_approver_is_vouched_for(home: Path) -> None:
    vouched = [(f"Passphrase of {CAROL}, who vouches", PASSPHRASE), *NEW]
    at_terminal(home, CAROL, ["approver", "enroll", DAVE, "--by", CAROL], vouched)
    listed = json.loads(quick(home, "approver", "list", "--json").stdout)
    assert {item["subject"]: item["enrolled_by"] for item in listed} == {CAROL: "", DAVE: CAROL}
    id = asked(home, 103, who=DAVE)
    with pytest.raises(TerminalFailed, match="decides their own request"):
        at_terminal(home, DAVE, ["approve", id], [])
    assert state_of(home, id) == "pending"
    screen = at_terminal(
        home, CAROL, ["approver", "revoke", DAVE, "--by", CAROL], [("Passphrase of", PASSPHRASE)]
    )
    assert f"{DAVE} may no longer decide." in screen


def test_what_others_said_is_shown(home: Path) -> None:
    """One of two has approved; then somebody rejects."""
    id = asked(home, 106)
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        connection.execute("UPDATE approval_request SET level = 3, needed = 2 WHERE id = ?", (id,))
        connection.commit()
    typed = [("Type 106 to go on", "106"), (f"Passphrase of {CAROL}", PASSPHRASE)]
    screen = at_terminal(home, CAROL, ["approve", id], typed)
    assert "so far: 0 of 2 approvals" in screen
    assert "One more person has to approve" in screen
    listed = quick(home, "approvals").stdout
    assert f"1 of 2 approvals · approved by {CAROL}" in " ".join(listed.split())
    (said,) = [
        each
        for each in json.loads(quick(home, "approvals", "--json").stdout)
        if each["approval_id"] == id
    ]
    assert said["approvals_needed"] == 2
    assert [(d["by"], d["decision"]) for d in said["decisions"]] == [(CAROL, "approve")]
    gone = asked(home, 107)
    at_terminal(home, CAROL, ["reject", gone], [("Passphrase of", PASSPHRASE)])
    again = quick(home, "approve", gone, "--as", CAROL, "--yes")
    assert f"so far: rejected · rejected by {CAROL}" in again.stdout


def test_what_cannot_be_decided_is_said_before_anything_is_typed(home: Path) -> None:
    """There is no terminal here: whoever is asked for a passphrase is not_authenticated."""
    gone, old = asked(home, 108), asked(home, 109)
    at_terminal(home, CAROL, ["reject", gone], [("Passphrase of", PASSPHRASE)])
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        past = "UPDATE approval_request SET expires_at = created_at WHERE id = ?"
        connection.execute(past, (old,))
        connection.commit()
    for id, reason in ((gone, "rejected"), (old, "expired")):
        for decision in ("approve", "reject"):
            refused = quick(home, decision, id, "--as", CAROL).exception
            assert isinstance(refused, ApprovalInvalid), refused
            assert refused.details["reason"] == reason
            assert told(home)[-1] == (f"approval_{decision}", "refused", CAROL)


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_program_with_a_shell_cannot_decide(home: Path, decision: str) -> None:
    """Whatever it writes to standard input: the passphrase is read from the terminal alone."""
    id = asked(home, 104)
    command = [decision, id, "--as", CAROL, *(["--yes"] if decision == "approve" else [])]
    refused = run(home, *command, input=f"{PASSPHRASE}\n" * 4)
    assert refused.returncode == 1, refused
    assert "not_authenticated" in refused.stderr
    assert "There is no terminal" in refused.stderr
    assert state_of(home, id) == "pending"
    assert told(home)[-1] == (f"approval_{decision}", "refused", CAROL)


def test_a_program_with_a_shell_cannot_enroll(audited: Path) -> None:
    refused = run(audited, "approver", "enroll", "me@example.com", input=f"{PASSPHRASE}\n" * 4)
    assert refused.returncode == 1
    assert "not_authenticated" in refused.stderr
    assert json.loads(quick(audited, "approver", "list", "--json").stdout) == []


def test_what_a_terminal_shows_cannot_be_dressed_up(home: Path) -> None:
    """A preview that holds escape sequences and markup is shown as text."""
    id = asked(home, 105)
    dressed = '[bold red]x[/] \x1b[2J\x1b]0;owned\x07 "quoted"'
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        connection.execute(
            "UPDATE approval_request SET preview = json_set(preview, '$.lines', json_array(?)),"
            " reason = ? WHERE id = ?",
            (dressed, dressed, id),
        )
        connection.commit()
    with pytest.raises(TerminalFailed) as undecided:
        at_terminal(home, CAROL, ["approve", id], [("Type 105 to go on", "no")])
    screen = str(undecided.value)
    assert "\x1b[2J" not in screen
    assert "\x1b]0;" not in screen
    assert "[bold red]x[/]" in screen
    by_hand = "UPDATE approval_request SET preview = json_set(preview, '$.title', ?) WHERE id = ?"
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        connection.execute(by_hand, (dressed, id))
        connection.commit()
    listed = quick(home, "approvals").stdout
    assert "[bold red]x[/]" in listed
    assert "\x1b" not in listed


def test_ids_that_are_not_there(home: Path) -> None:
    refused = run(home, "approve", "apr_none", "--yes")
    assert refused.returncode == 1, refused
    assert "approval_invalid: There is no such approval." in refused.stderr
    assert "Traceback" not in refused.stderr


# -- the audit log ---------------------------------------------------------------------------------


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """A shop with three records and no anchor yet."""
    toy.policy_in(tmp_path)

    async def work(shop: Shop) -> None:
        await do(shop, "inventory", toy.stocked)
        for quantity in (1, 2):
            await shop.guard.call(Request(toy.tools.tools["take"], {"quantity": quantity}, actor()))

    with_toys(tmp_path, work)
    return tmp_path


def test_audit_verify_says_sound_broken_or_unchecked(audited: Path) -> None:
    unchecked = run(audited, "audit", "verify")
    assert unchecked.returncode == 2, unchecked
    assert unchecked.stdout.startswith("NOT CHECKED: there is no public key")
    anchored = quick(audited, "audit", "anchor")
    assert (anchored.exit_code, anchored.stdout) == (0, "Anchored.\n"), anchored
    said = run(audited, "audit", "verify").stdout
    assert said == "Sound: 3 records in 1 chain, 1 anchor, 0 records since the last one.\n"
    gone = run(audited, "audit", "verify", "--pubkey", str(audited / "nope"))
    assert gone.returncode == 2
    assert f"{audited / 'nope'}" in "".join(gone.stderr.split("│")).replace("\n", "")
    sound = run(audited, "audit", "verify", "--json")
    assert sound.returncode == 0, sound
    said = json.loads(sound.stdout)
    assert (said["checked"], said["anchors"], said["exit"]) == (3, 1, 0)
    tamper(audited)
    broken = run(audited, "audit", "verify")
    assert broken.returncode == 1, broken
    assert re.match(r"BROKEN: \w+ at chain 0 seq 2 aud_\w+: ", broken.stdout), broken.stdout


def test_audit_verify_finds_the_anchor_that_was_kept(audited: Path) -> None:
    """Who owns the machine deletes the newest records and all anchors, and lets it anchor anew:
    only the line that somebody kept elsewhere shows it."""
    quick(audited, "audit", "anchor")
    file, kept = audited / "anchors.jsonl", audited / "kept"
    line = file.read_text()
    for text in (line, line.strip()):
        kept.write_text(text)
        found = run(audited, "audit", "verify", "--kept", str(kept))
        assert (found.returncode, found.stdout[:6]) == (0, "Sound:"), found
    file.unlink()
    quick(audited, "audit", "anchor")
    assert run(audited, "audit", "verify").returncode == 0
    found = run(audited, "audit", "verify", "--kept", str(kept))
    assert found.returncode == 1, found
    assert "the known anchor is not in the anchors file" in found.stdout
    kept.write_text("a note\n")
    found = run(audited, "audit", "verify", "--kept", str(kept))
    assert (found.returncode, "holds no anchor" in found.stderr) == (2, True), found


def test_what_a_terminal_does_is_anchored(tmp_path: Path) -> None:
    """The first steps of the README: no server ran, and the log is sound all the same."""
    assert run(tmp_path, "seed", "--days", "1").returncode == 0
    sound = run(tmp_path, "audit", "verify")
    assert (sound.returncode, "1 record in 1 chain, 1 anchor, 0 records" in sound.stdout) == (
        0,
        True,
    )
    at_terminal(tmp_path, CAROL, ["approver", "enroll", CAROL], NEW)
    sound = run(tmp_path, "audit", "verify")
    assert sound.returncode == 0, sound
    assert "2 records in 1 chain, 2 anchors, 0 records since" in sound.stdout


def test_what_a_terminal_refuses_is_anchored(audited: Path) -> None:
    refused = quick(audited, "approve", asked(audited, 100), "--as", CAROL).exception
    assert isinstance(refused, NotFound)
    said = json.loads(quick(audited, "audit", "verify", "--json").stdout)
    assert (said["anchors"], said["unanchored"], said["exit"]) == (1, 0, 0)


def test_where_others_anchor_a_terminal_does_not(tmp_path: Path) -> None:
    assert run(tmp_path, "seed", "--days", "1", env={"SHOP_DUTIES": "0"}).returncode == 0
    assert not (tmp_path / "anchors.jsonl").exists()


def tamper(home: Path) -> None:
    """Whoever owns the file takes the triggers away, then changes a quantity."""
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        changed = connection.execute(
            "UPDATE audit_record SET record = json_set(record, '$.args.quantity', 9) WHERE seq = 2"
        )
        assert changed.rowcount == 1
        connection.commit()


def test_audit_show(audited: Path) -> None:
    latest = run(audited, "audit", "show", "--limit", "2", "--json")
    assert latest.returncode == 0, latest.stderr
    records = json.loads(latest.stdout)
    assert [(r["seq"], r["tool"], r["args"]["quantity"]) for r in records] == [
        (3, "take", 2), (2, "take", 1)
    ]  # fmt: skip
    one = quick(audited, "audit", "show", records[0]["id"])
    assert [r["h"] for r in json.loads(one.stdout)] == [records[0]["h"]]
    table = quick(audited, "audit", "show")
    assert table.exit_code == 0, table.output
    assert "inventory.take" in table.stdout
    assert isinstance(quick(audited, "audit", "show", "aud_none").exception, NotFound)


# -- the schema, help ------------------------------------------------------------------------------


def test_db_upgrade_makes_the_database_and_then_nothing(tmp_path: Path) -> None:
    home = tmp_path / "new"
    head = quick(home, "db", "revision").stdout.strip()
    upgraded = run(home, "db", "upgrade")
    assert (upgraded.returncode, upgraded.stdout) == (0, f"The schema is at {head}.\n")
    assert quick(home, "db", "upgrade").stdout == upgraded.stdout
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]


def test_a_shop_that_cannot_be_opened_is_said_without_a_traceback(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num text)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999_from_the_future')")
        connection.commit()
    failed = run(tmp_path, "approvals")
    assert failed.returncode == 2, failed
    assert "9999_from_the_future" in failed.stderr
    assert "Traceback" not in failed.stderr


def commands(application: Typer) -> Iterator[list[str]]:
    """Every command and group by its words."""

    def below(command: Any, words: list[str]) -> Iterator[list[str]]:
        yield words
        for name, part in getattr(command, "commands", {}).items():
            yield from below(part, [*words, name])

    yield from below(get_command(application), [])


@pytest.mark.parametrize("words", list(commands(app)), ids=lambda words: " ".join(words) or "shop")
def test_every_command_has_help(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output
    told = result.output.split("Usage:")[1].split("\n", 1)[1]
    assert re.search(r"[A-Z][a-z]+ [a-z]", told), "no description"


def test_the_console_script_without_a_word_shows_help(tmp_path: Path) -> None:
    helped = run(tmp_path)
    assert "Usage:" in helped.stdout + helped.stderr
    assert not (tmp_path / "shop.db").exists()
