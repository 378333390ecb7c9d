"""Gold actions as calls on the servers."""

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from mcp import Client

from tests.judges.tau2.stage import Stage

REASONS: Final = {
    "no longer needed": "no_longer_needed", "ordered by mistake": "ordered_by_mistake",
}  # fmt: skip
# A refusal has one of these codes; anything else means that something broke.
REFUSALS: Final = frozenset(
    {"invalid_parameters", "not_found", "rule_violation", "insufficient_funds",
     "insufficient_stock", "conflict", "policy_denied"}
)  # fmt: skip


@dataclass
class Outcome:
    """One write: what we answered next to what the original did."""

    name: str
    ok: bool
    expected: bool
    answer: dict[str, Any]
    original: str
    sent: tuple[Client, str, dict[str, Any]] = field(repr=False)

    @property
    def equal(self) -> bool:
        return self.ok == self.expected and (self.ok or self.answer.get("code") in REFUSALS)

    def __str__(self) -> str:
        ours = "accepted" if self.ok else f"{self.answer.get('code')}: {self.answer.get('message')}"
        theirs = "accepted" if self.expected else self.original
        return f"{self.name}: {ours}; expected: {theirs}"


async def play(stage: Stage, write: dict[str, Any], key: str) -> Outcome:
    """Make one write. ``key`` is its idempotency key."""
    client, tool, arguments = await _mapped(stage, write["name"], dict(write["arguments"]))
    answer = await stage.write(client, tool, key, **arguments)
    ok = "code" not in answer and answer.get("status") != "approval_required"
    return Outcome(
        write["name"], ok, bool(write["ok"]), answer, str(write.get("error") or ""),
        (client, tool, arguments | {"idempotency_key": key}),
    )  # fmt: skip


async def _mapped(
    stage: Stage, name: str, given: dict[str, Any]
) -> tuple[Client, str, dict[str, Any]]:
    order_id = given.get("order_id")
    method = given.get("payment_method_id")
    if name == "cancel_pending_order":
        reason = REASONS.get(given["reason"], given["reason"])
        return stage.orders, "cancel_order", {"order_id": order_id, "reason": reason}
    if name == "modify_pending_order_address":
        return stage.orders, "update_shipping_address", {
            "order_id": order_id, "address": _address(given)
        }  # fmt: skip
    if name == "modify_user_address":
        return stage.orders, "update_customer_address", {
            "customer_id": given["user_id"], "address": _address(given)
        }  # fmt: skip
    if name == "modify_pending_order_payment":
        return stage.orders, "change_payment_method", {
            "order_id": order_id, "payment_method_id": method
        }  # fmt: skip
    pairs = await _pairs(stage, order_id, given["item_ids"], given.get("new_item_ids"))
    if name == "modify_pending_order_items":
        return stage.orders, "amend_order_lines", {
            "order_id": order_id, "changes": pairs, "payment_method_id": method
        }  # fmt: skip
    if name == "return_delivered_order_items":
        return stage.returns, "request_return", {
            "order_id": order_id, "lines": pairs, "refund_to": "method", "method_id": method
        }  # fmt: skip
    if name == "exchange_delivered_order_items":
        return stage.returns, "request_exchange", {
            "order_id": order_id, "lines": pairs, "method_id": method
        }  # fmt: skip
    raise ValueError(f"no write is called {name}")


async def _pairs(
    stage: Stage, order_id: Any, old: list[str], new: list[str] | None
) -> list[dict[str, str]]:
    """Each item as a line of its own, in the order's order; an item that is not on the order (or
    not so often) goes by its own name, and a list that is too short leaves its half out."""
    order = await stage.look("get_order", order_id=order_id)
    left = [(line["sku"], line["line_id"]) for line in order.get("lines", [])]
    pairs: list[dict[str, str]] = []
    for sku, new_sku in zip_longest(old, new if new is not None else [None] * len(old)):
        pair: dict[str, str] = {}
        if sku is not None:
            found = next((each for each in left if each[0] == sku), None)
            if found is not None:
                left.remove(found)
            pair["line_id"] = found[1] if found is not None else sku
        if new_sku is not None:
            pair["new_sku"] = new_sku
        pairs.append(pair)
    return pairs


def _address(given: dict[str, Any]) -> dict[str, str]:
    return {
        "line1": given["address1"], "line2": given["address2"], "city": given["city"],
        "region": given["state"], "postal_code": given["zip"], "country": given["country"],
    }  # fmt: skip
