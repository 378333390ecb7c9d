"""Two shops, record by record and field by field, money in cents."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

MONEY = frozenset({"price", "amount", "balance", "exchange_price_difference"})
KINDS = ("products", "users", "orders")
Shop = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Difference:
    """``path`` inside the record; ``got`` is ours, ``want`` what was to be."""

    kind: str
    id: str
    path: str
    got: Any
    want: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.id}{self.path}: {self.got!r}, expected {self.want!r}"


def normal(value: Any, key: str = "") -> Any:
    """Money as whole cents; fields that are null are as good as absent."""
    if isinstance(value, dict):
        return {k: normal(v, k) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [normal(each) for each in value]
    if key in MONEY and not isinstance(value, bool) and isinstance(value, int | float | Decimal):
        return int((Decimal(str(value)) * 100).to_integral_value(ROUND_HALF_UP))
    return value


def with_after(start: Shop, after: Shop | None) -> Shop:
    """``start`` with the records of ``after`` in place of its own. Both normal."""
    return {kind: {**start[kind], **(after or {}).get(kind, {})} for kind in KINDS}


def differences(got: Shop, want: Shop) -> list[Difference]:
    """Every field in which the shops differ."""
    found: list[Difference] = []
    for kind in KINDS:
        for id in sorted(set(got[kind]) | set(want[kind])):
            ours, theirs = got[kind].get(id), want[kind].get(id)
            if ours != theirs:
                found += _inside(kind, id, "", ours, theirs)
    return found


def _inside(kind: str, id: str, path: str, got: Any, want: Any) -> list[Difference]:
    if got == want:
        return []
    if isinstance(got, dict) and isinstance(want, dict):
        keys = sorted(set(got) | set(want))
        return [d for k in keys for d in _inside(kind, id, f"{path}.{k}", got.get(k), want.get(k))]
    if isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        pairs = enumerate(zip(got, want, strict=True))
        return [d for i, (a, b) in pairs for d in _inside(kind, id, f"{path}[{i}]", a, b)]
    return [Difference(kind, id, path, got, want)]
