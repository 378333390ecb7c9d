"""What takes access tokens back before they expire. Written by common alone."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from common.tables.base import Base, Id
from common.tables.columns import one_of

DENIED_KINDS = ("token", "subject", "client")


class AuthDenial(Base):
    """Tokens of one issuer that are refused although they are signed and alive: one by its id, or
    all of a subject or client issued up to ``before``. ``id`` is the SHA-256 of what it names; the
    row may go after ``until``, when every such token has expired by itself."""

    __tablename__ = "auth_denial"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    issuer: Mapped[str] = mapped_column(String(300))
    value: Mapped[str] = mapped_column(String(300))
    before: Mapped[datetime]
    until: Mapped[datetime] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(String(200))
    denied_by: Mapped[str] = mapped_column(String(300))
    at: Mapped[datetime]

    __table_args__ = (one_of("kind", DENIED_KINDS),)
