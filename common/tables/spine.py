"""Tables of the spine: ledgers, idempotency, approvals, audit. Written by common alone."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables.base import Base, Code, Id


class Account(Base):
    """One place units or money can be. ``side`` says which balance may not go below zero:
    ``debit`` (assets, stock), ``credit`` (liabilities, what may be refunded) or ``none``."""

    __tablename__ = "account"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    ledger: Mapped[str] = mapped_column(String(96))
    code: Mapped[str] = mapped_column(String(160))
    side: Mapped[str] = mapped_column(String(8))
    debits_posted: Mapped[int] = mapped_column(default=0)
    credits_posted: Mapped[int] = mapped_column(default=0)
    debits_pending: Mapped[int] = mapped_column(default=0)
    credits_pending: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        UniqueConstraint("ledger", "code"),
        CheckConstraint("side in ('debit','credit','none')", name="side"),
        CheckConstraint(
            "debits_posted >= 0 and credits_posted >= 0 and debits_pending >= 0"
            " and credits_pending >= 0",
            name="counts",
        ),
        CheckConstraint(
            "side != 'debit' or debits_posted - credits_posted - credits_pending >= 0",
            name="debit_limit",
        ),
        CheckConstraint(
            "side != 'credit' or credits_posted - debits_posted - debits_pending >= 0",
            name="credit_limit",
        ),
    )


class Transfer(Base):
    """Append-only. ``kind``: ``posted`` moves at once, ``pending`` reserves, ``post`` and ``void``
    and ``expire`` resolve the pending transfer named by ``pending_id``, once."""

    __tablename__ = "transfer"
    owner = "*"
    owes_record = True

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    ledger: Mapped[str] = mapped_column(String(96))
    debit_id: Mapped[str] = mapped_column(Id, ForeignKey("account.id"))
    credit_id: Mapped[str] = mapped_column(Id, ForeignKey("account.id"))
    amount: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))
    code: Mapped[str] = mapped_column(Code)
    reference: Mapped[str] = mapped_column(Id, index=True)
    pending_id: Mapped[str | None] = mapped_column(Id, ForeignKey("transfer.id"))
    expires_at: Mapped[datetime | None]
    at: Mapped[datetime]
    audit_id: Mapped[str] = mapped_column(Id, index=True)

    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount"),
        CheckConstraint("amount > 0 or kind in ('void','expire')", name="amount_moved"),
        CheckConstraint("kind in ('posted','pending','post','void','expire')", name="kind"),
        CheckConstraint("debit_id != credit_id", name="two_accounts"),
        CheckConstraint("(pending_id is null) = (kind in ('posted','pending'))", name="resolves"),
        # The history of an account is read by these.
        Index("ix_transfer_debit", "debit_id", "at", "id"),
        Index("ix_transfer_credit", "credit_id", "at", "id"),
        # A pending transfer resolves once: the wall behind the conditional update.
        UniqueConstraint("pending_id"),
    )


class OpenPending(Base):
    """The pending transfers still open: deleting the row is what resolving means."""

    __tablename__ = "open_pending"
    owner = "*"

    transfer_id: Mapped[str] = mapped_column(Id, ForeignKey("transfer.id"), primary_key=True)
    expires_at: Mapped[datetime | None] = mapped_column(index=True)


class StoredResult(Base):
    """What a changing call answered, by caller, tool and key."""

    __tablename__ = "stored_result"
    owner = "*"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    server: Mapped[str] = mapped_column(String(32))
    tool: Mapped[str] = mapped_column(String(64))
    args_digest: Mapped[str] = mapped_column(String(64))
    result: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(index=True)
    audit_id: Mapped[str] = mapped_column(Id)


class PolicyUse(Base):
    """What each committed call staked: what cumulative windows are summed over."""

    __tablename__ = "policy_use"
    owner = "*"

    audit_id: Mapped[str] = mapped_column(Id, primary_key=True)
    tool: Mapped[str] = mapped_column(String(96))
    subject: Mapped[str] = mapped_column(String(300))
    measure: Mapped[str] = mapped_column(String(32))
    amount: Mapped[int]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_policy_use_window", "tool", "subject", "measure", "at"),)


class ApprovalRequest(Base):
    """A proposal frozen: arguments, versions and preview by digest. Terminal states are final."""

    __tablename__ = "approval_request"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    server: Mapped[str] = mapped_column(String(32))
    tool: Mapped[str] = mapped_column(String(64))
    level: Mapped[int]
    needed: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    args_digest: Mapped[str] = mapped_column(String(64))
    preview: Mapped[dict[str, Any]]
    reason: Mapped[str]
    requester: Mapped[str] = mapped_column(String(300), index=True)
    requester_client: Mapped[str] = mapped_column(String(200))
    requester_scopes: Mapped[list[str]]
    policy_rule: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        CheckConstraint(
            "state in ('pending','approved','used','rejected','cancelled','expired','stale')",
            name="state",
        ),
    )


class ApprovalDecision(Base):
    """One person's word on one request, signed with a key the agent does not have, or, for
    level 1 only, given through the requester's own client."""

    __tablename__ = "approval_decision"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    request_id: Mapped[str] = mapped_column(Id, ForeignKey("approval_request.id"), index=True)
    approver: Mapped[str] = mapped_column(String(300))
    channel: Mapped[str] = mapped_column(String(16))
    decision: Mapped[str] = mapped_column(String(8))
    note: Mapped[str]
    at: Mapped[datetime]
    signature: Mapped[str | None] = mapped_column(String(128))

    __table_args__ = (
        UniqueConstraint("request_id", "approver"),
        CheckConstraint("decision in ('approve','reject')", name="decision"),
    )


class Approver(Base):
    """A person who may decide. The public key belongs to a passphrase that is stored nowhere."""

    __tablename__ = "approver"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    subject: Mapped[str] = mapped_column(String(300), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    salt: Mapped[str] = mapped_column(String(64))
    public_key: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    enrolled_by: Mapped[str] = mapped_column(String(300))
    enrolled_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class AuditRecord(Base):
    """One link of one chain. ``h`` = SHA-256 over 0x00, chain, seq, prev and the record."""

    __tablename__ = "audit_record"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    chain: Mapped[int]
    seq: Mapped[int]
    at: Mapped[datetime] = mapped_column(index=True)
    record: Mapped[dict[str, Any]]
    prev: Mapped[str] = mapped_column(String(64))
    h: Mapped[str] = mapped_column(String(64))

    __table_args__ = (UniqueConstraint("chain", "seq"),)


class AuditHead(Base):
    __tablename__ = "audit_head"
    owner = "*"

    chain: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    h: Mapped[str] = mapped_column(String(64))
    # The link before: what one statement that moves the head needs to write the record.
    prev: Mapped[str | None] = mapped_column(String(64))


class AuditPayload(Base):
    """What a record commits to but does not hold. Erasing the row erases the personal data and
    leaves the chain whole."""

    __tablename__ = "audit_payload"
    owner = "*"

    audit_id: Mapped[str] = mapped_column(Id, primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    payload: Mapped[dict[str, Any]]


class AccessRecord(Base):
    """Who read what: written in groups, after the answer."""

    __tablename__ = "access_record"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    server: Mapped[str] = mapped_column(String(32))
    target: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(300))
    client: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(32))
    args_commit: Mapped[str] = mapped_column(String(64))


class RateBucket(Base):
    """What a caller has used up of one class of calls: the moment the bucket is full again, in
    microseconds since 1970. A row in the past says nothing and may go."""

    __tablename__ = "rate_bucket"
    owner = "*"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    full_at_us: Mapped[int] = mapped_column(index=True)


class SchemaNote(Base):
    """One row: at ``revision``, programs since ``oldest`` may still run on this database."""

    __tablename__ = "schema_note"
    owner = "*"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[str] = mapped_column(String(64))
    oldest: Mapped[str] = mapped_column(String(64))
