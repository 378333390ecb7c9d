"""Beginning the anchors anew, when an older database was put back on purpose.

After a restore the anchors say, rightly, that records are missing, and would say so for ever. An
approver begins a new file. The old one stays beside it, and what is lost is on record: the old
file's last anchor, its SHA-256, what verifying said, who did it and why, signed by the approver's
key. The new file's first line names that record and the old file's last line, so that whoever kept
that line's digest still finds it.

It serves one purpose. A shop whose anchors hold has nothing to begin anew; a chain that does not
hold in itself is no older copy, and no new file of anchors would mend it.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from common.approvals import approvers, refusal
from common.audit.anchors import After, Anchor, AnchorsBroken, first_of, last_of, locked, read
from common.audit.chain import heads, moment
from common.audit.verify import verify
from common.call import Call
from common.errors import Busy, InvalidParameters, RuleViolation
from common.keys import anchor_key
from common.storage.database import Database

LONGEST_REASON: Final = 500
_RESTORED: Final = frozenset({"cut", "rewritten", "anchor"})
_TRIES: Final = 50
# How a piece of work becomes a transaction with its own record: clients.commands.common.recorded.
Recording = Callable[[Callable[[Call], str]], Awaitable[str]]


@dataclass(frozen=True)
class Restarted:
    """``record`` says who and why; ``kept`` is the old file's new name; ``lost`` is how many more
    records were anchored than came back."""

    record: str
    kept: str
    lost: int
    why: str


async def restart(
    database: Database, file: Path, key_dir: Path, *, now: datetime, subject: str,
    key: Ed25519PrivateKey, reason: str, recording: Recording,
) -> Restarted:  # fmt: skip
    """Begin anew as approver ``subject``, whose unlocked key is ``key``.

    Raises InvalidParameters, ApprovalInvalid, RuleViolation, Busy, KeyUnusable, OSError.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= LONGEST_REASON or not reason.isprintable():
        raise InvalidParameters.field("reason", reason, f"1 to {LONGEST_REASON} visible characters")
    if not await asyncio.to_thread(file.is_file):
        raise RuleViolation(
            "There is no anchors file: nothing says that anything is missing.",
            next="Run: shop audit anchor",
        )
    for _ in range(_TRIES):
        with locked(file) as handle:
            if handle is not None:
                previous = _ended(last_of, handle)
                tomb = await _tombstone(database, file, key_dir, previous)
                return await _begun(
                    database, file, key_dir, now, previous, tomb, subject, key, reason, recording
                )
        await asyncio.sleep(0.1)
    raise Busy("Another process is writing anchors.")


def _ended(read: Callable[[Any], Anchor | None], handle: Any) -> Anchor:
    try:
        found = read(handle)
    except AnchorsBroken as broken:
        raise RuleViolation(
            f"The anchors file's {broken}.",
            next="Put back an intact copy of the anchors file first: its last line is to be kept.",
        ) from None
    if found is None:
        raise RuleViolation("The anchors file is empty: nothing says that anything is missing.")
    return found


async def _tombstone(
    database: Database, file: Path, key_dir: Path, previous: Anchor
) -> dict[str, Any]:
    """What is buried. Raises RuleViolation where it is no older copy that was put back."""
    public = anchor_key(key_dir).public_key()
    report = await database.run("*", lambda s: verify(s, file, public), write=False)
    bad = report.first_bad
    if bad is None and report.unchecked:
        raise RuleViolation(f"It could not be checked: {report.unchecked}.")
    if bad is None:
        raise RuleViolation("The anchors hold: there is nothing to begin anew.")
    if bad.kind not in _RESTORED:
        raise RuleViolation(
            f"The chain itself is broken ({bad.kind}): {bad.why}. That is no older copy.",
            next="Restore a copy that is whole. A new file of anchors does not mend a chain.",
            details={"kind": bad.kind},
        )
    content = await asyncio.to_thread(file.read_bytes)
    most = 0
    try:
        for anchor in read(file, public):
            most = max(most, anchor.count)
    except AnchorsBroken:
        pass  # what was anchored since the older copy came back is shorter
    return {
        "found": bad.kind, "why": bad.why, "last_anchor": previous.n,
        "last_anchor_at": moment(previous.at), "records_anchored": max(most, previous.count),
        "last_digest": previous.digest, "file_sha256": hashlib.sha256(content).hexdigest(),
        "file_bytes": len(content),
    }  # fmt: skip


async def _begun(
    database: Database, file: Path, key_dir: Path, now: datetime, previous: Anchor,
    tomb: dict[str, Any], subject: str, key: Ed25519PrivateKey, reason: str, recording: Recording,
) -> Restarted:  # fmt: skip
    kept = file.with_name(f"{file.stem}.until-{now:%Y%m%dT%H%M%S%f}{file.suffix}")
    said = tomb | {"reason": reason, "kept_as": kept.name, "by": subject}

    def written(call: Call) -> str:
        approver = approvers.find(call.session, subject)
        if not approvers.may_decide(approver) or not approvers.holds_key(approver, key):
            raise refusal("not_approver")
        signature = approvers.sign(key, said | {"at": moment(call.now)})
        call.effect("restart", "anchors", previous.digest, **said, signature=signature)
        return call.audit_id

    record = await recording(written)

    def count(session: Session) -> tuple[Any, int]:
        found = heads(session)
        return found, sum(head.seq for head in found)

    found, records = await database.run("*", count, write=False)
    line = first_of(anchor_key(key_dir), now, found, After(previous.digest, record))
    await asyncio.to_thread(_replaced, file, kept, line)
    # The record itself and whatever came meanwhile are new; the rest is what came back.
    return Restarted(record, kept.name, max(0, tomb["records_anchored"] - records + 1), tomb["why"])


def _replaced(file: Path, kept: Path, line: bytes) -> None:
    """The old file under another name, the new one in its place: both whole at every moment."""
    draft = file.with_name(f".{file.name}.new")
    with draft.open("wb") as handle:
        handle.write(line + b"\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.link(file, kept)
    os.replace(draft, file)
    if sys.platform == "win32":
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
