"""Who is calling, and the transaction they are in. Every rule takes a Call first."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from common.audit.redact import mask
from common.errors import InvalidParameters, NotFound
from common.ids import new_id
from common.money import Money
from common.storage import mapped
from common.tables import Record
from common.untrusted import levelled

R = TypeVar("R", bound=Record)
T = TypeVar("T")
TOLD_EVERY = 10


def _nobody(done: int, total: int, message: str) -> None:
    """Progress nobody asked for."""


LOCAL_ISSUER: Final = "local"
"""Who vouches for a caller on this machine: its own operating system."""


@dataclass(frozen=True)
class Actor:
    """The authenticated caller. ``client`` is the program, ``machine`` has no person behind it."""

    issuer: str
    subject: str
    client: str
    scopes: frozenset[str]
    machine: bool = False
    # Of the person, only where the issuer says that it verified it.
    email: str = ""
    # Of somebody whom nothing tells from others: the network they come from.
    network: str = ""
    # What they showed: a token's ``jti`` or its digest, a key's id. For records alone.
    credential: str = field(default="", compare=False)

    @property
    def counted(self) -> str:
        """Whose limits these are: one's own, or those of everybody from that network."""
        return f"{self.issuer}|{self.network}" if self.network else self.id

    @property
    def id(self) -> str:
        """``issuer|subject``: the person, whatever program they use."""
        return f"{self.issuer}|{self.subject}"


Identity = Callable[[], Actor]
"""Who calls now."""


@dataclass
class Stakes:
    """What a call puts at stake: what the policy decides on. Stated by the rule, from rows."""

    stated: bool = False
    amount_minor: int = 0
    currency: str = ""
    units: int = 0
    facts: dict[str, bool | int | str] = field(default_factory=dict)


@dataclass
class Preview:
    """What a person is shown before they decide: rendered from rows, never from model text."""

    title: str = ""
    lines: list[str] = field(default_factory=list)
    figures: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Call:
    """One guarded call. ``now`` is fixed for the whole call; ``audit_id`` names its record."""

    actor: Actor
    session: Session
    now: datetime
    audit_id: str
    server: str = ""
    tool: str = ""
    # What the process has beside its database, for steps that prepare a computation.
    ports: Mapping[str, Any] = field(default_factory=dict)
    stakes: Stakes = field(default_factory=Stakes)
    preview: Preview = field(default_factory=Preview)
    versions: dict[str, int] = field(default_factory=dict)
    effects: list[dict[str, Any]] = field(default_factory=list)
    # Tells a caller who asked for it how far the call is: done, in all, in words.
    report: Callable[[int, int, str], None] = _nobody
    _made: set[str] = field(default_factory=set)

    def find(self, kind: type[R], id: str) -> R | None:
        """The row, or None. A row found counts among the versions an approval is bound to, unless
        this call made it: its id would be another one when the call is repeated."""
        row = mapped.load(self.session, kind, id)
        if row is not None:
            self._count(row)
        return row

    def get(self, kind: type[R], id: str, *, next: str | None = None) -> R:
        """The row. Raises NotFound, naming the id."""
        row = self.find(kind, id)
        if row is None:
            raise missing(kind, id, next=next)
        return row

    def all(self, kind: type[R], *where: ColumnElement[bool], limit: int = 1_000) -> list[R]:
        """Rows by condition, in id order, at most ``limit``; each counts among the versions."""
        query = select(kind).where(*where).order_by(kind.id).limit(limit)
        rows = list(self.session.scalars(query))
        for row in rows:
            self._count(row)
        return rows

    def add(self, row: R) -> R:
        """A new row, flushed so that its constraints speak now."""
        mapped.add(self.session, row)
        self._made.add(f"{row.__tablename__}:{row.id}")
        self.effect("create", row.__tablename__, row.id)
        return row

    @contextmanager
    def trying(self) -> Iterator[None]:
        """A part that may fail alone: what it wrote goes, and what the record would say of it."""
        effects, made = len(self.effects), set(self._made)
        try:
            with self.session.begin_nested():
                yield
        except BaseException:
            del self.effects[effects:]
            self._made = made
            raise

    def _count(self, row: Record) -> None:
        key = f"{row.__tablename__}:{row.id}"
        if key not in self._made:
            self.versions.setdefault(key, row.version)

    def counted(self, rows: Sequence[T], what: str) -> Iterator[T]:
        """Each row in turn; how many are done is told now and then, and at the end."""
        for number, row in enumerate(rows, 1):
            yield row
            if number % TOLD_EVERY == 0 or number == len(rows):
                self.report(number, len(rows), f"{number} of {len(rows)} {what}")

    def new_id(self, kind: str) -> str:
        """A fresh id of a kind named in common.ids."""
        return new_id(kind)

    def effect(self, operation: str, kind: str, id: str, **more: Any) -> None:
        """What the audit record will say was done. JSON, no personal data."""
        self.effects.append({"op": operation, "type": kind, "id": id, **more})

    def stake(
        self,
        *,
        amount_minor: int = 0,
        currency: str = "",
        units: int = 0,
        **facts: bool | int | str,
    ) -> None:
        """State what is at stake. Amounts and units add up over a call."""
        if self.stakes.currency and currency and self.stakes.currency != currency:
            raise InvalidParameters.field("currency", currency, "one currency a call")
        self.stakes.stated = True
        self.stakes.amount_minor += amount_minor
        self.stakes.units += units
        self.stakes.currency = currency or self.stakes.currency
        self.stakes.facts.update(facts)

    def show(self, title: str, *lines: str) -> None:
        """What a person will be asked to approve. Quote untrusted text with ``quoted``."""
        self.preview.title = self.preview.title or title
        self.preview.lines.extend(lines)

    def shown(self, title: str) -> dict[str, Any]:
        """The preview with what is at stake; ``title`` where the rule gave none."""
        shown: dict[str, Any] = {"title": self.preview.title or title, "lines": self.preview.lines}
        if self.preview.figures:
            shown["figures"] = self.preview.figures
        if self.stakes.amount_minor:
            shown["amount"] = str(Money(self.stakes.amount_minor, self.stakes.currency))
        if self.stakes.units:
            shown["units"] = self.stakes.units
        return shown

    def figure(self, what: str, before: object, after: object) -> None:
        """A figure the call changes, as it is and as it will be."""
        self.preview.figures.append({"what": what, "before": str(before), "after": str(after)})


def noun(kind: type[Record]) -> str:
    """What a kind of record is called: ``purchase order``."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower()


def missing(
    kind: type[Record],
    id: str,
    *,
    next: str | None = None,
    there: Mapping[str, Sequence[str]] | None = None,
) -> NotFound:
    """That there is no such row; ``there`` names those that are."""
    message = f"No {noun(kind)} {quoted(id)}."
    return NotFound(message, next=next, details={"id": id[:80], **(there or {})})


_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


def quoted(text: str, limit: int = 120) -> str:
    """Untrusted text as a person may safely see it: one line, no invisible characters, no secrets,
    quoted."""
    clean = "".join(
        " " if unicodedata.category(ch) in {"Zl", "Zp"} or ch in "\r\n\t" else ch
        for ch in text
        if unicodedata.category(ch) not in _HIDDEN or ch in "\r\n\t"
    )
    clean = mask(levelled(" ".join(clean.split()).replace('"', "'")))
    return f'"{clean[: limit - 1]}…"' if len(clean) > limit else f'"{clean}"'
