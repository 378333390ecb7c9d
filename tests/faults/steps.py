"""The steps of a commit, by name: where each of them can be made to fail."""

from typing import Any, Final

from sqlalchemy.orm import Session

from common import idempotency
from common.approvals import requests
from common.audit import chain
from common.call import Call
from common.policy import Policy

FAILPOINT: Final = "a failpoint"  # what a step says that was made to break
STEPS: Final[dict[str, tuple[Any, str]]] = {
    "the decision": (Policy, "decide"),
    "the preview": (Call, "shown"),
    "the digest": (requests, "digest"),
    "using the approval": (requests, "consume"),
    "counting the use": (Policy, "use"),
    "keeping the answer": (idempotency, "keep"),
    "the record": (chain, "append"),
    "the commit": (Session, "commit"),
}
