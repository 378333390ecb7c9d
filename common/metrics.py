"""Figures for Prometheus. Labels come from closed lists, so that no caller can make new series.

With several workers every process writes to files of its own in one folder, and whichever worker is
asked adds them up.
"""

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from common.toolset import Toolset

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CALLS: Final = Counter("shop_calls", "Tool calls.", ["server", "tool", "outcome"])
SECONDS: Final = Histogram(
    "shop_call_seconds", "How long tool calls took.", ["server"], buckets=_BUCKETS
)
REFUSALS: Final = Counter(
    "shop_http_refusals", "Requests that did not pass the gate.", ["server", "status", "reason"]
)
IN_FLIGHT: Final = Gauge(
    "shop_http_in_flight", "Requests being answered.", multiprocess_mode="livesum"
)
SESSIONS: Final = Gauge(
    "shop_http_sessions", "Open sessions of the older era.", ["server"], multiprocess_mode="livesum"
)
PENDING: Final = Gauge(
    "shop_approvals_pending", "Approvals people are asked for.", multiprocess_mode="mostrecent"
)
OLDEST_APPROVAL: Final = Gauge(
    "shop_approvals_oldest_seconds", "How long the oldest of them has waited.",
    multiprocess_mode="mostrecent",
)  # fmt: skip
OUTBOX: Final = Gauge(
    "shop_outbox_waiting", "Calls to providers still to be made or settled, by state.",
    ["port", "state"], multiprocess_mode="mostrecent",
)  # fmt: skip
OLDEST_OUTBOX: Final = Gauge(
    "shop_outbox_oldest_seconds", "How long the oldest of them has waited.",
    multiprocess_mode="mostrecent",
)  # fmt: skip
ANCHOR_AGE: Final = Gauge(
    "shop_anchor_age_seconds", "How long the oldest record that is not anchored has waited.",
    multiprocess_mode="mostrecent",
)  # fmt: skip
FREE: Final = Gauge(
    "shop_storage_free_bytes", "What is left on the disk of a SQLite database; NaN without one.",
    multiprocess_mode="mostrecent",
)  # fmt: skip

ALARMING: Final = ("internal_error", "storage_full")
"""There from the start: of what begins with 1 Prometheus sees no increase, so the first crash of a
tool would alarm nobody."""

Next = Callable[[Any], Awaitable[Any]]


def measuring(toolset: Toolset) -> Callable[[Any, Next], Awaitable[Any]]:
    """Middleware of a server: counts its tool calls by how they ended."""
    domain = toolset.domain
    for name in toolset.tools:
        for outcome in ALARMING:
            CALLS.labels(domain, name, outcome)

    async def measured(context: Any, call_next: Next) -> Any:
        if context.method != "tools/call":
            return await call_next(context)
        name = (context.params or {}).get("name")
        spec = toolset.find(name) if isinstance(name, str) else None
        tool = spec.name if spec else "unknown"
        outcome, started = "error", time.perf_counter()
        try:
            result = await call_next(context)
            outcome = _outcome(result)
            return result
        finally:
            CALLS.labels(domain, tool, outcome).inc()
            SECONDS.labels(domain).observe(time.perf_counter() - started)

    return measured


def _outcome(result: Any) -> str:
    if not isinstance(result, dict):
        return "ok"
    structured = result.get("structuredContent") or {}
    if result.get("isError"):
        return str(structured.get("code", "error"))
    if result.get("resultType") == "input_required":
        return "input_required"
    if structured.get("status") == "approval_required":
        return "pending"
    return "replayed" if structured.get("replayed") is True else "ok"


def rendered(folder: Path | None) -> bytes:
    """Everything; over all workers where they share a folder."""
    if folder is None:
        return generate_latest()
    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:  # what it had in flight is nobody's now
            multiprocess.mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry)
