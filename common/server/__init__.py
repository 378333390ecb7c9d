"""A toolset on the official SDK. The SDK's traps are mended here, once.

* unknown tools, prompts and missing prompt arguments answer −32602, as the specification has it
* lists are rendered once; schemas have no titles; descriptions are dedented
* results carry structured content and a compact text copy; refusals carry the one error shape
* level 1 is asked in the client where it can ask, in either protocol era; otherwise the answer
  is a normal result that says how to go on
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from mcp.server.caching import CacheHint
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolResult,
    Completion,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    Resource,
    ResourceTemplate,
    TextContent,
    Tool,
    ToolAnnotations,
)
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from opentelemetry import trace
from pydantic import BaseModel

from common.call import LOCAL_ISSUER, Identity, quoted
from common.errors import ApprovalInvalid, Internal, InvalidParameters, NotFound, ShopError
from common.guard import Guard
from common.incoming import Done, Reading, Request, Waiting
from common.notices import Notices
from common.scopes import of_domain
from common.server.listening import Bus, Gate
from common.server.pipes import Watch, opened
from common.toolset import Effect, ResourceSpec, Toolset, ToolSpec
from common.untrusted import WARNING, cleaned
from common.wire import dump, parse_text, text_of

log = logging.getLogger(__name__)

NEW_ERA: Final = "2026-07-28"
LIST_TTL_MS: Final = 300_000
QUESTION: Final = "confirm"
_NO_HEADERS: Final[dict[str, Any]] = {"type": "object"}
_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "agree": {"type": "boolean", "title": "I agree to this", "default": False},
    },
    "required": ["agree"],
}


class ShopServer(MCPServer[Any]):
    """One domain's server: lists from the toolset, every call through the guard."""

    def __init__(
        self,
        toolset: Toolset,
        guard: Guard,
        identity: Identity,
        *,
        state_key: bytes,
        notices: Notices,
        console: str = "",
        log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "WARNING",
    ) -> None:
        hint = CacheHint(ttl_ms=LIST_TTL_MS, scope="private")
        super().__init__(
            f"shop-{toolset.domain}",
            title=toolset.title,
            instructions=f"{toolset.instructions} {WARNING}",
            version=guard.version,
            log_level=log_level,
            request_state_security=RequestStateSecurity(keys=[state_key]),
            subscriptions=Bus(notices),
            middleware=[Gate(toolset, guard, identity)],
            cache_hints={
                "tools/list": hint, "resources/list": hint,
                "resources/templates/list": hint, "prompts/list": hint,
            },
        )  # fmt: skip
        self.toolset = toolset
        self.guard = guard
        self.identity = identity
        self.console = console
        self._tools = [listing(spec) for spec in toolset.tools.values()]
        if toolset.completers:
            self.completion()(self._complete)  # type: ignore[no-untyped-call]

    async def run_pipes(self, source: int, sink: int, begun: bytes, watch: Watch) -> None:
        """Serve a host on two descriptors, beginning with bytes that were read before."""
        lines, out = await opened(source, sink, begun, watch)
        async with stdio_server(stdin=lines, stdout=out) as (read, write):
            options = self._lowlevel_server.create_initialization_options()
            await self._lowlevel_server.run(read, write, options)

    # -- tools ---------------------------------------------------------------------------------

    def _tool_input_schema(self, name: str) -> dict[str, Any] | None:
        # The SDK looks in it for arguments mirrored in headers, on every call: no tool has any.
        return _NO_HEADERS if self.toolset.find(name) else None

    async def list_tools(self) -> list[Tool]:
        return self._tools

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        spec = self.toolset.find(name)
        if spec is None:
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {quoted(name, 80)[1:-1]}")
        request = Request(
            spec, arguments, self.identity(), trace=_trace(), progress=_progress(context)
        )
        try:
            answered = await self._answered(request, context)
            if answered is None:
                answered = await self.guard.call(request)
            if isinstance(answered, Waiting):
                return await self._waiting(request, answered, context)
            return _result(answered)
        except ShopError as error:
            return _refusal(error)
        except MCPError:
            raise
        except Exception:  # the guard has its own; this is what broke beside it
            log.exception("%s.%s crashed", spec.domain, name)
            return _refusal(Internal("Something broke on our side."))

    async def _answered(
        self, request: Request, context: Context[Any, Any] | None
    ) -> Done | Waiting | None:
        """The second round of a new-era confirmation: the sealed state names the approval."""
        if context is None or context.request_state is None:
            return None
        if not request.spec.changes:
            raise ApprovalInvalid("This call asked nothing.")
        answer = (context.input_responses or {}).get(QUESTION)
        approval_id = context.request_state
        if not isinstance(answer, ElicitResult):
            return None
        return await self._settle(request, approval_id, answer.action, answer.content)

    async def _settle(
        self, request: Request, approval_id: str, action: str, content: Any
    ) -> Done | Waiting:
        agreed = action == "accept" and isinstance(content, dict) and content.get("agree") is True
        if action == "cancel":
            raise ApprovalInvalid(
                "The person closed the question without an answer; nothing was changed.",
                details={"approval_id": approval_id, "reason": "pending"},
                next="Ask the person what they want before you call again.",
            )
        try:
            await self.guard.confirm(approval_id, request.actor, agreed)
        except ApprovalInvalid as error:
            # Said before, and the reply was lost: the guard finds out what became of it.
            if not agreed or error.details.get("reason") not in ("approved", "used"):
                raise
        if not agreed:
            raise ApprovalInvalid(
                "The person declined; nothing was changed.",
                details={"approval_id": approval_id, "reason": "rejected"},
                next="Do not call this again. Ask the person what they want instead.",
            )
        again = request.arguments | {"approval_id": approval_id}
        return await self.guard.call(
            Request(request.spec, again, request.actor, request.trace, request.progress)
        )

    async def _waiting(
        self, request: Request, waiting: Waiting, context: Context[Any, Any] | None
    ) -> CallToolResult | InputRequiredResult:
        if waiting.level == 1 and context is not None and _can_ask(context):
            message = _question(waiting)
            if (context.protocol_version or "") >= NEW_ERA:
                return InputRequiredResult(
                    input_requests={
                        QUESTION: ElicitRequest(
                            params=ElicitRequestFormParams(message=message, requested_schema=_FORM)
                        )
                    },
                    request_state=waiting.approval_id,
                )
            answer = await context.session.elicit_form(
                message, _FORM, related_request_id=context.request_context.request_id
            )
            settled = await self._settle(
                request, waiting.approval_id, answer.action, answer.content
            )
            if isinstance(settled, Done):
                return _result(settled)
            waiting = settled
        local = request.actor.issuer == LOCAL_ISSUER
        return _answer(waiting.structured("" if local else self.console))

    # -- resources -----------------------------------------------------------------------------

    async def list_resources(self) -> list[Resource]:
        return [
            Resource(
                uri=spec.uri, name=spec.name, title=_title(spec.name), _meta=spec.meta or None,
                description=spec.description, mime_type=spec.mime_type,
            )
            for spec in self.toolset.resources.values()
            if not spec.template
        ]  # fmt: skip

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        return [
            ResourceTemplate(
                uri_template=spec.uri, name=spec.name, title=_title(spec.name),
                description=spec.description, mime_type=spec.mime_type, _meta=spec.meta or None,
            )
            for spec in self.toolset.resources.values()
            if spec.template
        ]  # fmt: skip

    async def read_resource(
        self, uri: Any, context: Context[Any, Any] | None = None
    ) -> Iterable[ReadResourceContents]:
        text = str(uri)
        try:
            found = self.toolset.resource_for(text)
            if found is None:
                raise NotFound("No such resource.")
            spec, values = found
            content = await self.guard.read(Reading(spec, values, self.identity(), _trace()))
            return [_content(spec, content)]
        except (ShopError, UnicodeDecodeError) as error:
            wire = error.wire() if isinstance(error, ShopError) else {}
            wrong = isinstance(error, NotFound | InvalidParameters | UnicodeDecodeError)
            raise MCPError(
                code=INVALID_PARAMS if wrong else INTERNAL_ERROR,
                message=wire.get("message", "The URI is not UTF-8."),
                data={"uri": quoted(text, 400)[1:-1], **wire},
            ) from None

    # -- prompts and completions ---------------------------------------------------------------

    async def list_prompts(self) -> list[Prompt]:
        return [
            Prompt(
                name=spec.name, title=_title(spec.name), description=spec.description,
                arguments=[
                    PromptArgument(
                        name=name, description=field.description, required=field.is_required()
                    )
                    for name, field in spec.arguments.model_fields.items()
                ],
            )
            for spec in self.toolset.prompts.values()
        ]  # fmt: skip

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[Any, Any] | None = None,
    ) -> GetPromptResult:
        spec = self.toolset.prompts.get(name)
        if spec is None:
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown prompt: {quoted(name, 80)[1:-1]}")
        try:
            model = parse_text(spec.arguments, arguments or {})
        except InvalidParameters as error:
            wire = error.wire()
            raise MCPError(code=INVALID_PARAMS, message=wire["message"], data=wire) from None
        text = spec.run(**{key: getattr(model, key) for key in type(model).model_fields})
        message = PromptMessage(role="user", content=TextContent(type="text", text=text))
        return GetPromptResult(description=spec.description, messages=[message])

    async def _complete(self, ref: Any, argument: Any, context: Any) -> Completion:
        run = self.toolset.completers.get(argument.name)
        if run is None:
            return Completion(values=[])
        actor, guard = self.identity(), self.guard
        spec = ResourceSpec(
            self.toolset.domain, f"completion:{argument.name}", run,
            of_domain(self.toolset.domain)[0], "text/plain",
        )  # fmt: skip
        try:
            values = await guard.read(
                Reading(spec, {"prefix": argument.value[:64]}, actor, _trace())
            )
        except ShopError:
            return Completion(values=[])
        return Completion(values=values[:100], has_more=len(values) > 100)


def annotations(spec: ToolSpec) -> ToolAnnotations:
    """All four hints, from the declared effect."""
    return ToolAnnotations(
        read_only_hint=spec.effect is Effect.READS,
        destructive_hint=spec.effect is Effect.CHANGES,
        idempotent_hint=spec.effect is Effect.READS,
        open_world_hint=False,
    )


def listing(spec: ToolSpec) -> Tool:
    """The tool as it stands in tools/list."""
    meta = {"shop/scope": str(spec.scope)}
    return Tool(
        name=spec.name, title=spec.title, description=spec.description,
        input_schema=spec.input_schema, output_schema=spec.output_schema,
        annotations=annotations(spec), _meta=meta | spec.meta,
    )  # fmt: skip


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _result(done: Done) -> CallToolResult:
    return _answer(done.structured)


def _answer(structured: dict[str, Any]) -> CallToolResult:
    meta = structured.pop("_meta", None)
    return CallToolResult(
        content=[TextContent(type="text", text=text_of(structured))],
        structured_content=structured,
        _meta=meta,
    )


def _refusal(error: ShopError) -> CallToolResult:
    wire, _ = cleaned(error.wire())
    return CallToolResult(
        content=[TextContent(type="text", text=text_of(wire))],
        structured_content=wire,
        is_error=True,
    )


def _content(spec: ResourceSpec, content: Any) -> ReadResourceContents:
    meta = dict(spec.meta)
    if isinstance(content, BaseModel):
        structured = dump(content)
        meta |= structured.pop("_meta", {})
        content = text_of(structured)
    return ReadResourceContents(content=content, mime_type=spec.mime_type, meta=meta or None)


def _can_ask(context: Context[Any, Any]) -> bool:
    capabilities = context.client_capabilities
    form = getattr(capabilities, "elicitation", None)
    if form is None or (form.form is None and form.url is not None):
        return False
    new = (context.protocol_version or "") >= NEW_ERA
    return new or bool(context.session.can_send_request)


def _question(waiting: Waiting) -> str:
    """What counts comes first: a window that shows little shows that."""
    seen = waiting.preview
    lines = [f"{name.capitalize()}: {seen[name]}" for name in ("amount", "units") if name in seen]
    lines += [
        f"{figure['what']}: {figure['before']} → {figure['after']}"
        for figure in seen.get("figures", [])
    ]
    why = f"Why you are asked: {quoted(waiting.reason, 300)}"
    return "\n".join([str(seen.get("title", "")), *lines, *seen.get("lines", []), why])


def _progress(context: Context[Any, Any] | None) -> Callable[[int, int, str], None]:
    pending: set[asyncio.Task[None]] = set()
    highest = 0

    def report(done: int, total: int, message: str) -> None:
        nonlocal highest
        if context is None or done <= highest:
            return  # it only ever grows, though a transaction may be tried again
        highest = done
        task = asyncio.ensure_future(context.report_progress(done, total, message or None))
        pending.add(task)
        task.add_done_callback(pending.discard)

    return report


def _trace() -> str:
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}-{span.span_id:016x}" if span.is_valid else ""
