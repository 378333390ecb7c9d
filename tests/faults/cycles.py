"""Is there an order of the transactions that explains what each of them saw?

After Kingsbury and Alvaro's Elle, for lists that are only appended to: what a read returned tells
the order of the appends before it, so dependencies follow from the values alone. A cycle among
them is an anomaly, and so is a read that no order of appends explains.

======  ===================================================================
ww      appended right after what the other one appended
wr      read what the other one appended last
rw      did not see yet what the other one appended next
rt      began after the other one had been answered
======  ===================================================================
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Element = Hashable
Edges = dict[int, dict[int, str]]


@dataclass(frozen=True)
class Transaction:
    """Lists by key. ``ended`` is None where nobody knows whether it happened."""

    name: str
    began: float
    ended: float | None
    appends: Mapping[str, Element] = field(default_factory=dict)
    reads: Mapping[str, tuple[Element, ...]] = field(default_factory=dict)


def anomalies(transactions: Sequence[Transaction]) -> list[str]:
    """What no serial order in real time explains. Empty: there is one."""
    writers: dict[tuple[str, Element], int] = {}
    wrong: list[str] = []
    for number, made in enumerate(transactions):
        for key, element in made.appends.items():
            if (key, element) in writers:
                wrong.append(f"{key}: {element} was appended twice")
            writers[key, element] = number
    orders, unlike = _orders(transactions)
    wrong += unlike
    wrong += [
        f"{key}: {element} was read and never written"
        for key, order in orders.items()
        for element in order
        if (key, element) not in writers
    ]
    if wrong:
        return wrong
    edges = _edges(transactions, orders, writers)
    return [
        "cycle: " + ", ".join(_told(transactions, edges, knot))
        for knot in _components(edges)
        if len(knot) > 1
    ]


def _orders(transactions: Sequence[Transaction]) -> tuple[dict[str, list[Element]], list[str]]:
    """The longest version of each list, and every read that is no beginning of it."""
    longest: dict[str, list[Element]] = {}
    for made in transactions:
        for key, seen in made.reads.items():
            if len(seen) > len(longest.get(key, [])):
                longest[key] = list(seen)
    unlike = [
        f"{made.name} read {key} in another order than others"
        for made in transactions
        for key, seen in made.reads.items()
        if list(seen) != longest.get(key, [])[: len(seen)]
    ]
    return longest, unlike


def _edges(
    transactions: Sequence[Transaction],
    orders: dict[str, list[Element]],
    writers: dict[tuple[str, Element], int],
) -> Edges:
    edges: Edges = defaultdict(dict)

    def add(before: int, after: int, kind: str) -> None:
        if before != after:
            edges[before].setdefault(after, kind)

    for key, order in orders.items():
        for one, next_one in pairwise(order):
            add(writers[key, one], writers[key, next_one], "ww")
    for number, made in enumerate(transactions):
        for key, seen in made.reads.items():
            order = orders.get(key, [])
            if seen:
                add(writers[key, seen[-1]], number, "wr")
            if len(seen) < len(order):
                add(number, writers[key, order[len(seen)]], "rw")
    # Real time by a chain of moments: an edge to the moment after it ended, and from the last
    # moment before it began. Moments are numbered after the transactions.
    answered = [(made.ended, n) for n, made in enumerate(transactions) if made.ended is not None]
    starts = [(made.began, n) for n, made in enumerate(transactions)]
    events = sorted([(at, 1, n) for at, n in answered] + [(at, 0, n) for at, n in starts])
    moment = len(transactions)
    for _, ends, number in events:
        if ends:
            add(moment, moment + 1, "rt")
            moment += 1
            add(number, moment, "rt")
        else:
            add(moment, number, "rt")
    return edges


def _components(edges: Edges) -> Iterator[list[int]]:
    """Tarjan's strongly connected components, without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    stacked: set[int] = set()
    for root in list(edges):
        if root in index:
            continue
        work = [(root, iter(edges.get(root, {})))]
        index[root] = low[root] = len(index)
        stack.append(root)
        stacked.add(root)
        while work:
            node, rest = work[-1]
            for after in rest:
                if after not in index:
                    index[after] = low[after] = len(index)
                    stack.append(after)
                    stacked.add(after)
                    work.append((after, iter(edges.get(after, {}))))
                    break
                if after in stacked:
                    low[node] = min(low[node], index[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    knot, stack[at:] = stack[at:], []
                    stacked.difference_update(knot)
                    yield knot


def _told(transactions: Sequence[Transaction], edges: Edges, knot: list[int]) -> Iterator[str]:
    inside = set(knot)
    for before in knot:
        for after, kind in edges[before].items():
            if after in inside and before < len(transactions) and after < len(transactions):
                yield f"{transactions[before].name} -{kind}-> {transactions[after].name}"
