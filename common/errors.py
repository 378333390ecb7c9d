"""Failures a caller may see: one closed tree, one wire shape.

* ShopError
  - NotAuthenticated     nobody is signed in
  - ScopeMissing         the caller lacks the tool's scope
  - InvalidParameters    an argument is not what the schema or the business asks for
  - NotFound             no such record, or not visible to this caller
    - ProductNotFound    with the searched term and a suggestion
    - CartNotFound
  - RuleViolation        a business rule forbids it
    - InsufficientStock  fewer units than asked for
    - InsufficientFunds  less money than asked for
    - CartOperationFailed
  - Conflict             somebody else changed the record meanwhile
  - IdempotencyConflict  the key was used for other arguments
  - PossibleDuplicate    the same call a moment ago, without a key
  - PolicyDenied         no approval could allow it
  - ApprovalInvalid      unknown, used, expired, for other arguments, or gone stale
  - RateLimited          too many calls
  - UpstreamError        a provider failed or did not answer
  - Busy                 the database stayed locked through every retry
    - StorageFull        there is no room to write anything
  - Internal             our bug: the text is withheld

The message is read by a model: it says what was wrong. ``next`` says what to do about it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from common.audit.redact import masked


class ShopError(Exception):
    """An anticipated failure. ``details`` must be JSON and free of personal data."""

    code: ClassVar[str] = "failed"
    default_next: ClassVar[str] = "Read the message and correct the call."

    def __init__(
        self, message: str, *, next: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next = next or self.default_next
        self.details = dict(details or {})

    def wire(self) -> dict[str, Any]:
        """The one shape every refusal has: ``{code, message, details, next}``. A secret that the
        caller sent is not said again: answers are logged where they arrive."""
        said: dict[str, Any] = masked(
            {
                "code": self.code,
                "message": self.message,
                "details": self.details,
                "next": self.next,
            }
        )
        return said


class NotAuthenticated(ShopError):
    code = "not_authenticated"
    default_next = "Sign in, then repeat the call."


class ScopeMissing(ShopError):
    code = "insufficient_scope"
    default_next = "Ask the person to grant the named scope, then repeat the call."


class InvalidParameters(ShopError):
    code = "invalid_parameters"
    default_next = "Correct the named fields and call again."

    @classmethod
    def field(cls, field: str, value: object, requirement: str) -> "InvalidParameters":
        """One bad argument. The value is shown cut to 80 characters."""
        shown = value if isinstance(value, int | bool | None) else str(value)[:80]
        problem = {"field": field, "value": shown, "requirement": requirement}
        return cls(f"{field}: {requirement}", details={"problems": [problem]})


class NotFound(ShopError):
    code = "not_found"
    default_next = "Check the id, or search for the record."


class ProductNotFound(NotFound):
    code = "product_not_found"
    default_next = "Offer the suggestions to the person, or search with other words."


class CartNotFound(NotFound):
    code = "cart_not_found"
    default_next = "Add a product without a cart_id to start a new cart."


class RuleViolation(ShopError):
    code = "rule_violation"
    default_next = "Nothing was changed. Tell the person why, or propose something else."


class InsufficientStock(RuleViolation):
    code = "insufficient_stock"
    default_next = "Ask for fewer units, or look for stock elsewhere with check_availability."


class InsufficientFunds(RuleViolation):
    code = "insufficient_funds"
    default_next = "Ask for a smaller amount, or use another method."


class CartOperationFailed(RuleViolation):
    code = "cart_operation_failed"
    default_next = "Read the cart with get_cart, then try again."


class Conflict(ShopError):
    code = "conflict"
    default_next = "Read the record again, then repeat the call if it still makes sense."


class IdempotencyConflict(ShopError):
    code = "idempotency_conflict"
    default_next = "Use a new idempotency_key for a new intent."


class PossibleDuplicate(ShopError):
    code = "possible_duplicate"
    default_next = (
        "If a second effect is really meant, ask the person, "
        "then call again with a new idempotency_key."
    )


class PolicyDenied(ShopError):
    code = "policy_denied"
    default_next = "Tell the person that the shop's policy does not allow this."


class ApprovalInvalid(ShopError):
    code = "approval_invalid"
    default_next = "To ask for a new approval repeat the call that needed it, without approval_id."


class RateLimited(ShopError):
    code = "rate_limited"
    default_next = "Wait as long as retry_after_s says, then repeat the call."


class UpstreamError(ShopError):
    code = "upstream_error"
    default_next = "The outcome is being settled. Read the record again before you retry."
    retry_after_s: ClassVar[int] = 1


class Busy(ShopError):
    code = "busy"
    default_next = "Repeat the same call with the same idempotency_key."
    retry_after_s: ClassVar[int] = 1


class StorageFull(Busy):
    code = "storage_full"
    default_next = (
        "Nothing was changed. Tell the person that whoever runs the shop has to make room, "
        "then repeat the same call with the same idempotency_key."
    )
    retry_after_s = 30


class Internal(ShopError):
    code = "internal_error"
    default_next = "Nothing was changed. Tell the person and name the reference."


LATER: Final = (Busy, UpstreamError)
"""Over HTTP: 503, and ``retry_after_s`` says when it is worth another try."""


def closed_codes() -> dict[str, type[ShopError]]:
    """Every code a caller can meet, by code."""
    found: dict[str, type[ShopError]] = {}
    pending: list[type[ShopError]] = [ShopError]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if kind is not ShopError:
            found[kind.code] = kind
    return dict(sorted(found.items()))
