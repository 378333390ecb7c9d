"""Who is signed in to the approvals console, and how often something was tried. One table for all
workers; neither says anything that the audit log does not."""

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from common.tables.base import Base, Id


class ConsoleSession(Base):
    """``id`` is the SHA-256 of the cookie, which also seals ``token``: whoever reads this table
    can neither come in nor use the token. ``hits`` counts the requests since ``minute``."""

    __tablename__ = "console_session"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    caller: Mapped[dict[str, Any]]
    token: Mapped[str] = mapped_column(String(24_000))
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    minute: Mapped[datetime]
    hits: Mapped[int] = mapped_column(default=0)


class ConsoleCount(Base):
    """Tries of one thing (``id``: what and whose) until a moment, then counted anew."""

    __tablename__ = "console_count"
    owner = "*"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    hits: Mapped[int]
    until: Mapped[datetime] = mapped_column(index=True)
