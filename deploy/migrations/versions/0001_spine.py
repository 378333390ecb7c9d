"""Ledgers, idempotency, approvals, audit."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, append_only, to_audit_record, words

revision = "0001_spine"
down_revision = None


def upgrade() -> None:
    access_record()
    account()
    approval_request()
    approver()
    audit_head()
    audit_payload()
    audit_record()
    policy_use()
    stored_result()
    approval_decision()
    transfer()
    open_pending()


def access_record() -> None:
    op.create_table(
        "access_record",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("server", sa.String(32), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("args_commit", ID, nullable=False),
    )
    op.create_index("ix_access_record_at", "access_record", ["at"])


def account() -> None:
    op.create_table(
        "account",
        sa.Column("id", ID, primary_key=True),
        sa.Column("ledger", sa.String(96), nullable=False),
        sa.Column("code", sa.String(160), nullable=False),
        sa.Column("side", sa.String(8), nullable=False),
        sa.Column("debits_posted", sa.BigInteger, nullable=False),
        sa.Column("credits_posted", sa.BigInteger, nullable=False),
        sa.Column("debits_pending", sa.BigInteger, nullable=False),
        sa.Column("credits_pending", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("ledger", "code"),
        sa.CheckConstraint(
            "debits_posted >= 0 and credits_posted >= 0 and debits_pending >= 0 and "
            "credits_pending >= 0",
            name="counts",
        ),
        sa.CheckConstraint(
            "side != 'credit' or credits_posted - debits_posted - debits_pending >= 0",
            name="credit_limit",
        ),
        sa.CheckConstraint(
            "side != 'debit' or debits_posted - credits_posted - credits_pending >= 0",
            name="debit_limit",
        ),
        words("side", "debit credit none"),
    )


def approval_request() -> None:
    op.create_table(
        "approval_request",
        sa.Column("id", ID, primary_key=True),
        sa.Column("server", sa.String(32), nullable=False),
        sa.Column("tool", ID, nullable=False),
        sa.Column("level", sa.BigInteger, nullable=False),
        sa.Column("needed", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("digest", ID, nullable=False),
        sa.Column("args_digest", ID, nullable=False),
        sa.Column("preview", JSON, nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("requester", sa.String(300), nullable=False),
        sa.Column("requester_client", sa.String(200), nullable=False),
        sa.Column("requester_scopes", JSON, nullable=False),
        sa.Column("policy_rule", sa.String(200), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("closed_at", TIME),
        sa.Column("version", sa.BigInteger, nullable=False),
        words("state", "pending approved used rejected cancelled expired stale"),
    )
    op.create_index("ix_approval_request_requester", "approval_request", ["requester"])
    op.create_index("ix_approval_request_state", "approval_request", ["state"])


def approver() -> None:
    op.create_table(
        "approver",
        sa.Column("id", ID, primary_key=True),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("salt", ID, nullable=False),
        sa.Column("public_key", ID, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("enrolled_by", sa.String(300), nullable=False),
        sa.Column("enrolled_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME),
        sa.UniqueConstraint("subject"),
    )


def audit_head() -> None:
    op.create_table(
        "audit_head",
        sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("h", ID, nullable=False),
    )


def audit_payload() -> None:
    op.create_table(
        "audit_payload",
        sa.Column("audit_id", ID, primary_key=True),
        sa.Column("salt", sa.LargeBinary(32), nullable=False),
        sa.Column("payload", JSON, nullable=False),
    )


def audit_record() -> None:
    op.create_table(
        "audit_record",
        sa.Column("id", ID, primary_key=True),
        sa.Column("chain", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("record", JSON, nullable=False),
        sa.Column("prev", ID, nullable=False),
        sa.Column("h", ID, nullable=False),
        sa.UniqueConstraint("chain", "seq"),
    )
    op.create_index("ix_audit_record_at", "audit_record", ["at"])
    append_only("audit_record")


def policy_use() -> None:
    op.create_table(
        "policy_use",
        sa.Column("audit_id", ID, primary_key=True),
        sa.Column("tool", sa.String(96), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("measure", sa.String(32), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_policy_use_window", "policy_use", ["tool", "subject", "measure", "at"])


def stored_result() -> None:
    op.create_table(
        "stored_result",
        sa.Column("id", ID, primary_key=True),
        sa.Column("server", sa.String(32), nullable=False),
        sa.Column("tool", ID, nullable=False),
        sa.Column("args_digest", ID, nullable=False),
        sa.Column("result", JSON, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("audit_id", ID, nullable=False),
    )
    op.create_index("ix_stored_result_at", "stored_result", ["at"])


def approval_decision() -> None:
    op.create_table(
        "approval_decision",
        sa.Column("id", ID, primary_key=True),
        sa.Column("request_id", ID, sa.ForeignKey("approval_request.id"), nullable=False),
        sa.Column("approver", sa.String(300), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("decision", sa.String(8), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("signature", sa.String(128)),
        sa.UniqueConstraint("request_id", "approver"),
        words("decision", "approve reject"),
    )
    op.create_index("ix_approval_decision_request_id", "approval_decision", ["request_id"])
    append_only("approval_decision")


def transfer() -> None:
    op.create_table(
        "transfer",
        sa.Column("id", ID, primary_key=True),
        sa.Column("ledger", sa.String(96), nullable=False),
        sa.Column("debit_id", ID, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("credit_id", ID, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("code", ID, nullable=False),
        sa.Column("reference", ID, nullable=False),
        sa.Column("pending_id", ID, sa.ForeignKey("transfer.id")),
        sa.Column("expires_at", TIME),
        sa.Column("at", TIME, nullable=False),
        sa.Column("audit_id", ID, to_audit_record(), nullable=False),
        sa.UniqueConstraint("pending_id"),
        sa.CheckConstraint("amount >= 0", name="amount"),
        sa.CheckConstraint("amount > 0 or kind in ('void','expire')", name="amount_moved"),
        words("kind", "posted pending post void expire"),
        sa.CheckConstraint(
            "(pending_id is null) = (kind in ('posted','pending'))", name="resolves"
        ),
        sa.CheckConstraint("debit_id != credit_id", name="two_accounts"),
    )
    op.create_index("ix_transfer_audit_id", "transfer", ["audit_id"])
    op.create_index("ix_transfer_credit", "transfer", ["credit_id", "at", "id"])
    op.create_index("ix_transfer_debit", "transfer", ["debit_id", "at", "id"])
    op.create_index("ix_transfer_reference", "transfer", ["reference"])
    append_only("transfer")


def open_pending() -> None:
    op.create_table(
        "open_pending",
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id"), primary_key=True),
        sa.Column("expires_at", TIME),
    )
    op.create_index("ix_open_pending_expires_at", "open_pending", ["expires_at"])
