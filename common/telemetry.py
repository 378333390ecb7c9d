"""What operators see of a running server: log lines and traces. Never arguments, never secrets.

Spans are the OpenTelemetry API's and cost next to nothing until ``SHOP_TRACES_URL`` names a
collector (extra ``traces``). The SDK opens one span a message, with the caller's trace context;
below it ours say how long the guard, the rule and each transaction took.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from traceback import TracebackException
from typing import Any, Final

from opentelemetry import context, propagate, trace

from common.audit.redact import mask, storable
from common.settings import Settings

TRACER: Final = trace.get_tracer("shop")
LONGEST: Final = 4_000
FIELDS: Final = "fields"  # of a log record: what a line for a machine says in place of a message
MOST_READ: Final = 100_000  # masking costs time for each character
TALKATIVE: Final = (  # with a session's id, which is all that a guest has, and with answers
    "mcp.server.streamable_http", "mcp.server.streamable_http_manager", "sse_starlette",
)  # fmt: skip


class _Nothing:
    """What a span is while nobody looks."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None


_NOTHING: Final = _Nothing()
_on = False


def span(name: str, **attributes: str | int | bool) -> AbstractContextManager[None]:
    """A span with attributes ``shop.…``. An exception's kind is kept, its text is not."""
    return _span(name, attributes) if _on else _NOTHING


@contextmanager
def _span(name: str, attributes: Mapping[str, str | int | bool]) -> Iterator[None]:
    named = {f"shop.{key}": value for key, value in attributes.items()}
    with TRACER.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", getattr(error, "code", type(error).__name__))
            raise


def trace_with(provider: trace.TracerProvider) -> None:
    """Send spans there from now on. Once a process."""
    global _on
    trace.set_tracer_provider(provider)
    _on = True


def configure(settings: Settings, service: str) -> None:
    """Once a process, before anything else logs. Raises MissingExtra."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines() if settings.log_format == "json" else Plain())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    hold_back()
    if settings.traces_url:
        _trace(settings.traces_url, service)


def hold_back() -> None:
    """Let those who write what they handle into the log say only what is wrong."""
    level = max(logging.WARNING, logging.getLogger().level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(level)


class MissingExtra(RuntimeError):
    """A setting needs a package that is not installed."""


class _Brief(logging.Formatter):
    """A crash without the marks below each line, which are half of it and cost time to search."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        crash = TracebackException(*ei, compact=True)
        _unmark(crash)
        return "".join(crash.format()).removesuffix("\n")


def _unmark(crash: TracebackException) -> None:
    for frame in crash.stack:
        frame.colno = None
    for other in (crash.__cause__, crash.__context__, *(crash.exceptions or ())):
        if other is not None:
            _unmark(other)


class Plain(_Brief):
    """For a person: one line and, for a crash, where it happened."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


class Lines(_Brief):
    """For a machine: one JSON object a line, with the trace it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, FIELDS, None)
        if fields is None:
            said["message"] = clean(record.getMessage())
        else:
            said |= {name: clean(v) if isinstance(v, str) else v for name, v in fields.items()}
        current = trace.get_current_span().get_span_context()
        if current.is_valid:
            said["trace_id"] = f"{current.trace_id:032x}"
            said["span_id"] = f"{current.span_id:016x}"
        if record.exc_info and record.exc_info[0] is not None:
            said["exception"] = clean(self.formatException(record.exc_info))
        return json.dumps(said, ensure_ascii=False)


# PostgreSQL tells a refused row whole, names and addresses too.
_ROW: Final = re.compile(
    r"\nDETAIL:  .*?(?=\n\[SQL: |\n\nThe above exception|\n\nDuring handling|\Z)", re.DOTALL
)


def clean(text: str) -> str:
    """Without card numbers, tokens, keys and rows of the database, and not endless: the end of a
    crash says what it was."""
    said = mask(storable(_ROW.sub("\nDETAIL: left out", text[:MOST_READ])))
    if len(said) <= LONGEST:
        return said
    return f"{said[: LONGEST // 4]}\n…\n{said[-3 * LONGEST // 4 :]}"


def _trace(url: str, service: str) -> None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtra(
            "SHOP_TRACES_URL needs the extra packages: pip install 'shop[traces]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    trace_with(provider)


def continued(headers: Sequence[tuple[bytes, bytes]]) -> AbstractContextManager[None]:
    """Go on with the trace a request's headers name (W3C), if they name one."""
    return _continued(headers) if _on else _NOTHING


@contextmanager
def _continued(headers: Sequence[tuple[bytes, bytes]]) -> Iterator[None]:
    named = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name in (b"traceparent", b"tracestate")
    }
    token = context.attach(propagate.extract(named))
    try:
        yield
    finally:
        context.detach(token)
