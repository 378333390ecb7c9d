"""Take a file in: one transaction, one audit record, rows in bulk, refusals by row."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from clients.importers.report import Refused, Report
from common.audit import chain
from common.audit.records import FORM, who
from common.call import Actor, Call
from common.ledgers import accounts, ledger
from common.money import LARGEST_MINOR, exponent
from common.rules import funds, stock
from common.shop import Shop, release
from common.storage.database import Rollback, new_audit_id
from common.tables import Record
from common.tables.inventory import Warehouse
from common.wire import ID_PATTERN

T = TypeVar("T")
Tick = Callable[[int], None]

BATCH: Final = 500
MAIN: Final = "MAIN"
LONGEST_ID: Final = 50  # leaves room for the ids of lines and payments made from an order's
_NOISE: Final = Decimal("0.00001")
_ID: Final = re.compile(ID_PATTERN)


@dataclass(frozen=True)
class Format:
    """``read`` parses a path, outside any transaction; ``size`` counts its records for a progress
    bar; ``write`` puts them into the shop."""

    name: str
    title: str
    read: Callable[[Path], Any]
    size: Callable[[Any], int]
    write: Callable[["Load", Any], None]


@dataclass
class Load:
    """One import under way."""

    call: Call
    report: Report
    tick: Tick
    _taken: dict[type[Record], set[str]] = field(default_factory=dict)

    @property
    def session(self) -> Session:
        return self.call.session

    @property
    def now(self) -> datetime:
        return self.call.now

    def each(
        self, kind: str, items: Iterable[tuple[str, T]], take: Callable[[str, T], None]
    ) -> None:
        """Take every row; one that cannot be taken is reported with its reason."""
        for id, item in items:
            self.report.saw(kind)
            try:
                take(id, item)
            except Refused as reason:
                self.report.refuse(kind, id, str(reason))
            except KeyError as missing:
                self.report.refuse(kind, id, f"the field {missing} is missing")
            except (TypeError, AttributeError, ValueError, InvalidOperation):
                self.report.refuse(kind, id, "a field has another form than expected")
            else:
                self.report.took(kind)
            self.tick(1)

    def insert(self, kind: type[Record], rows: Sequence[dict[str, Any]]) -> None:
        """Rows in bulk, parents before children."""
        stamped = [row | {"audit_id": self.call.audit_id, "version": 1} for row in rows]
        for start in range(0, len(stamped), BATCH):
            self.session.execute(insert(kind), stamped[start : start + BATCH])
        if kind in self._taken:
            self._taken[kind].update(str(row["id"]) for row in rows)

    def ids(self, kind: type[Record]) -> set[str]:
        """The ids of this kind in the shop, those inserted so far among them."""
        if kind not in self._taken:
            self._taken[kind] = set(self.session.scalars(select(kind.id)))
        return self._taken[kind]

    def new(self, kind: type[Record], id: str) -> str:
        """The id, if it may be used for a new row; from then on it is taken. Raises Refused."""
        identifier(id)
        if id in self.ids(kind):
            raise Refused(f"there is a {kind.__name__} with this id already")
        self.ids(kind).add(id)
        return id

    def warehouse(self, id: str = MAIN, name: str = "Main warehouse") -> str:
        """The warehouse, made if it is not there."""
        if id not in self.ids(Warehouse):
            row = {"id": id, "name": name[:200], "region": "main", "address": {}}
            self.insert(Warehouse, [row])
        return id

    def open_stock(
        self, units: Sequence[tuple[str, str, int]], status: stock.Status = "available"
    ) -> None:
        """Opening stock: (sku, warehouse, units); none where there are no units."""
        accounts.ensure(
            self.session,
            [(stock.units(sku), code) for sku, warehouse, n in units if n > 0
             for code in ("opening", stock.place(warehouse, status))],
        )  # fmt: skip
        for sku, warehouse, count in units:
            if count > 0:
                stock.move(
                    self.call, sku, warehouse, "opening", status, count, "opening",
                    f"opening:{warehouse}",
                )  # fmt: skip

    def open_money(self, entries: Sequence["Opened"], currency: str) -> list[str]:
        """Money that moved before the import, at the opening account's cost, so that no provider
        seems to owe it. Returns the transfer ids."""
        ledger_name = funds.money(currency)
        codes = {each.account for each in entries} | {"opening"}
        accounts.ensure(self.session, [(ledger_name, code) for code in codes])
        made = []
        for each in entries:
            sides = ("opening", each.account) if each.inward else (each.account, "opening")
            made.append(
                ledger.transfer(
                    self.call, ledger_name, *sides, each.amount, "opening", each.reference
                )
            )
        return made


@dataclass(frozen=True)
class Opened:
    """``amount`` minor units that an account starts with (``inward``) or has given away."""

    account: str
    amount: int
    reference: str
    inward: bool = True


async def load(
    shop: Shop,
    form: Format,
    path: Path,
    *,
    by: Actor,
    dry_run: bool = False,
    parsed: Any = None,
    tick: Tick = lambda _: None,
) -> Report:
    """Import ``path`` (or what ``form.read`` made of it). ``dry_run`` does all of it, down to the
    database's own checks, and keeps nothing."""
    content = form.read(path) if parsed is None else parsed
    audit_id, now = new_audit_id(), shop.guard.clock()

    def work(session: Session) -> Report:
        call = Call(by, session, now, audit_id, "shop", "import")
        report = Report(form.name, dry_run)
        form.write(Load(call, report, tick), content)
        session.flush()
        record = {
            "v": FORM, "server": "shop", "version": release(), "tool": "import", "outcome": "ok",
            "actor": who(by),
            "args": {"format": form.name, "file": path.name, "sha256": digest(path)},
            "effects": [
                {"op": "import", "type": kind, "count": count}
                for kind, count in report.written.items()
            ],
        }  # fmt: skip
        chain.append(session, audit_id=audit_id, now=now, record=record, payload=None)
        if dry_run:
            raise Rollback(report)
        return report

    return await shop.database.run("*", work, audit_id=audit_id)


def digest(path: Path) -> str:
    """SHA-256 in hex of a file, or of a folder's CSV files by name."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    sums = [f"{file.name}:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    return sums[0].partition(":")[2] if path.is_file() else hashlib.sha256(
        "\n".join(sums).encode()
    ).hexdigest()  # fmt: skip


def identifier(id: object) -> str:
    """The id, verbatim. Raises Refused for one that no tool could name."""
    if not isinstance(id, str) or not _ID.match(id) or len(id) > LONGEST_ID:
        raise Refused(f"its id is not text of 1 to {LONGEST_ID} printable ASCII characters")
    return id


def only(what: str, record: dict[str, Any], known: frozenset[str]) -> None:
    """Raises Refused when a record says something this import would drop."""
    unknown = sorted(set(record) - known)
    if unknown:
        raise Refused(f"{what}: the field {unknown[0]!r} is not known")


def same_id(key: str, value: object) -> str:
    if key != value:
        raise Refused(f"it is filed under {key!r} and calls itself {value!r}")
    return identifier(value)


def text(value: object, field: str, most: int = 200) -> str:
    """Text as it is. Raises Refused for other types and for text too long to keep whole."""
    if not isinstance(value, str):
        raise Refused(f"{field} is not text")
    if len(value) > most or "\0" in value:
        raise Refused(f"{field} is longer than {most} characters")
    return value


def minor(value: object, currency: str, field: str) -> int:
    """Minor units of a decimal; what floating point added beyond is rounded away.

    Raises Refused for what is no number, and for more decimals than the currency has."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise Refused(f"{field} is not a number")
    try:
        exact = Decimal(value)
    except InvalidOperation:
        raise Refused(f"{field} is not a number") from None
    if not exact.is_finite():
        raise Refused(f"{field} is not a number")
    scaled = exact.scaleb(exponent(currency))
    rounded = scaled.quantize(Decimal(1), ROUND_HALF_UP)
    if abs(scaled - rounded) > _NOISE:
        raise Refused(f"{field} has more than {exponent(currency)} decimals")
    if abs(rounded) > LARGEST_MINOR:
        raise Refused(f"{field} is too large")
    return int(rounded)
