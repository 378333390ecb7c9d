"""Ids of our own making: a prefix that names the kind, then a sortable UUIDv7 (TypeID).

Ids that came with an import are kept verbatim and never parsed.
"""

from typing import Final

from typeid import TypeID

PREFIXES: Final = {
    "account": "acc", "transfer": "tra", "audit": "aud", "approval": "apr", "decision": "dec",
    "approver": "apv", "stored": "key", "order": "ord", "line": "lin", "customer": "cus",
    "method": "pmt", "payment": "pay", "refund": "ref", "hold": "hld", "dispute": "dsp",
    "purchase_order": "po", "purchase_line": "pol", "receipt": "rcp", "reservation": "rsv",
    "stock_transfer": "stt", "count": "cnt", "lot": "lot", "adjustment": "adj",
    "shipment": "shp", "parcel": "pcl", "route": "rte", "stop": "stp", "event": "evt",
    "label": "lbl", "return": "rma", "return_line": "rml", "inspection": "ins",
    "claim": "clm", "claim_line": "cll", "evidence": "evd", "cart": "crt", "item": "itm",
    "driver": "drv", "vehicle": "veh", "product": "prd", "outbox": "out", "note": "not",
    "supplier": "sup", "member": "mem", "checkout": "chk", "run": "run", "payout": "pyo",
    "settlement": "stl", "plan": "pln", "pickup": "pku", "manifest": "mft",
    "user": "usr", "client": "cli", "grant": "grt",
    "token": "tok", "api_key": "apk", "award": "awd",
    "promotion_use": "use",
}  # fmt: skip


def new_id(kind: str) -> str:
    """A fresh id such as ``ord_01j…``. Raises KeyError for a kind not in the table."""
    return str(TypeID(prefix=PREFIXES[kind]))
