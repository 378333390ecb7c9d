"""Look up what a caller names, and say what was probably meant when there is no such thing.

A filter that names nothing is refused: an empty answer would say that there is none of it.
"""

from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.call import Call, missing, noun
from common.errors import InvalidParameters, ProductNotFound
from common.rules.catalogue_cache import remembered
from common.storage import mapped
from common.tables import Record

if TYPE_CHECKING:
    from common.tables.inventory import Variant

R = TypeVar("R", bound=Record)

# Tables of which a shop has so few rows that all of them can be named. By name, here and below:
# a server loads the tables it works with.
FEW: Final = ("carrier", "depot", "supplier", "warehouse")
MOST_NAMED: Final = 50
SEARCHED: Final = 20_000
MOST_ALIKE: Final = 3
MOST_SUGGESTED: Final = 5
LIKENESS: Final = 75
# Letters that look alike in print fall together.
_ALIKE: Final = str.maketrans("OILSBZQ|", "01158201")


def record(call: Call, kind: type[R], id: str) -> R:
    """The row, for a look only: nothing that a call changes hangs on it. Raises NotFound, naming
    those there are where they are few."""
    row = mapped.load(call.session, kind, id)
    if row is None:
        if kind.__tablename__ not in FEW:
            raise missing(kind, id)
        there = list(call.session.scalars(select(kind.id).order_by(kind.id).limit(MOST_NAMED)))
        raise missing(kind, id, there={f"{noun(kind)}s": there})
    return row


def variant(call: Call, sku: str) -> "Variant":
    """The item. Raises ProductNotFound with SKUs that look alike or whose item is called like
    that: none is taken for another."""
    from common.tables.inventory import Variant

    row = call.find(Variant, sku)
    if row is None:
        near = _alike(call, sku)
        raise ProductNotFound(
            "No such SKU.",
            details={"searched": sku} | ({"suggestions": near} if near else {}),
            next="Ask the person which of the suggestions is meant."
            if near
            else "Ask the person for the SKU as it is written in the catalogue.",
        )
    return row


def filters(call: Call, *given: tuple[type[Record], str | None]) -> None:
    """Whatever the filters of a search name must be there; None leaves a filter out. Raises
    NotFound, ProductNotFound."""
    for kind, id in given:
        if id is None:
            continue
        if kind.__tablename__ == "variant":
            variant(call, id)
        else:
            record(call, kind, id)


def in_order(first: str, begin: str | None, last: str, end: str | None) -> None:
    """Days of a range, with the names of their arguments. Raises InvalidParameters where it ends
    before it begins."""
    if begin is not None and end is not None and end < begin:
        raise InvalidParameters.field(last, end, f"a date not before {first}")


def _alike(call: Call, sku: str) -> list[str]:
    from rapidfuzz import fuzz, process, utils

    # On the way of an error only, and bounded.
    known, plain, names = remembered(call, ("alike",), lambda: _to_compare(call.session))
    by_sku = process.extract(
        _plain(sku), plain, scorer=fuzz.ratio, limit=MOST_ALIKE, score_cutoff=LIKENESS
    )
    by_name = process.extract(
        utils.default_process(sku), names, scorer=fuzz.token_set_ratio, limit=MOST_SUGGESTED,
        score_cutoff=LIKENESS,
    )  # fmt: skip
    return list(dict.fromkeys(known[place] for _, _, place in by_sku + by_name))[:MOST_SUGGESTED]


def _to_compare(session: Session) -> tuple[list[str], list[str], list[str]]:
    from rapidfuzz import utils

    from common.tables.inventory import Variant

    rows = session.execute(select(Variant.id, Variant.name).order_by(Variant.id).limit(SEARCHED))
    known = [(row.id, _plain(row.id), utils.default_process(row.name)) for row in rows]
    return [k[0] for k in known], [k[1] for k in known], [k[2] for k in known]


def _plain(text: str) -> str:
    return text.upper().translate(_ALIKE)
