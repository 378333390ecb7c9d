"""What the official conformance scenarios expect of a server, on our own server class.

Every fixture tool is declared in a toolset and passes the guard (scope, policy, audit) before it
does what its scenario asks for. The scenarios themselves say what that is.
"""

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    GetPromptResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    PromptMessage,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from mcp_types import INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY

from common.call import Call
from common.errors import ShopError
from common.incoming import Request
from common.scopes import Scope
from common.server import ShopServer
from common.toolset import Effect, Toolset
from common.wire import Identifier, Line, Result

Answer = CallToolResult | InputRequiredResult
Behaviour = Callable[[Context[Any, Any], dict[str, Any]], Awaitable[Answer]]
EXTRA: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})

tools = Toolset("inventory", title="Conformance", instructions="Fixtures of the official suite.")
behaviours: dict[str, Behaviour] = {}


class Ran(Result):
    """The guard let it through."""


class ConformanceServer(ShopServer):
    """Our server; behind the guard, a fixture answers in place of the shop."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        _tell_of_lists(self._subscriptions)
        add = self._lowlevel_server.add_request_handler
        add("logging/setLevel", SetLevelRequestParams, _empty)
        add("resources/subscribe", SubscribeRequestParams, _empty)
        add("resources/unsubscribe", UnsubscribeRequestParams, _empty)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> Answer:
        spec = self.toolset.tools.get(name)
        if spec is None or context is None:
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {name}")
        try:
            await self.guard.call(Request(spec, arguments, self.identity()))
        except ShopError as error:
            return said(json.dumps(error.wire()), is_error=True)
        return await behaviours[name](context, arguments)

    async def get_prompt(  # type: ignore[override]
        self, name: str, arguments: dict[str, Any] | None = None,
        context: Context[Any, Any] | None = None,
    ) -> GetPromptResult | InputRequiredResult:  # fmt: skip
        plain = await super().get_prompt(name, arguments, context)
        if name == "test_prompt_with_embedded_resource":
            uri = str((arguments or {})["resourceUri"])
            return prompt(embedded(uri, "text/plain", "Embedded resource content for testing."),
                          text("Please process the embedded resource above."))  # fmt: skip
        if name == "test_prompt_with_image":
            return prompt(image(), text("Please analyze the image above."))
        if name == "test_input_required_result_prompt" and context is not None:
            answer = answers(context).get("user_context")
            if answer is None:
                question = "What context should the prompt use?"
                return asking(user_context=form(question, context="string"))
            return prompt(text(f"Use this context: {answer.content['context']}"))
        return plain


def _tell_of_lists(bus: Any) -> None:
    """Our lists never change while a server runs, so its bus carries no such event; two fixtures
    pretend that they do."""
    listeners: list[Callable[[Any], None]] = []
    subscribed = bus.subscribe

    def subscribe(listener: Callable[[Any], None]) -> Callable[[], None]:
        listeners.append(listener)
        undo = subscribed(listener)

        def leave() -> None:
            listeners.remove(listener)
            undo()

        return leave

    async def publish(event: Any) -> None:
        for listener in [*listeners]:
            listener(event)

    bus.subscribe, bus.publish = subscribe, publish


async def _empty(context: Any, params: Any) -> EmptyResult:
    return EmptyResult()


# -- what answers are made of --------------------------------------------------------------------


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def image() -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(png()).decode(), mime_type="image/png")


def embedded(uri: str, mime_type: str, words: str) -> EmbeddedResource:
    inner = TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return EmbeddedResource(type="resource", resource=inner)


def result(*blocks: ContentBlock, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=list(blocks), is_error=is_error)


def said(words: str, *, is_error: bool = False) -> CallToolResult:
    return result(text(words), is_error=is_error)


def prompt(*blocks: ContentBlock) -> GetPromptResult:
    return GetPromptResult(messages=[PromptMessage(role="user", content=block) for block in blocks])


def png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))  # fmt: skip


def wav() -> bytes:
    """Eight silent samples."""
    silence = b"\x80" * 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 8_000, 1, 8)
    data = struct.pack("<4sI", b"data", len(silence)) + silence
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


def form(message: str, **fields: str) -> ElicitRequest:
    """A question with required fields of these types."""
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in fields.items()},
        "required": list(fields),
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampled(question: str, max_tokens: int = 100) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=text(question))
    params = CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    return CreateMessageRequest(params=params)


def asking(state: str | None = None, **requests: Any) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def answers(context: Context[Any, Any]) -> dict[str, Any]:
    return dict(context.input_responses or {})


# -- the fixtures --------------------------------------------------------------------------------


def fixture(behaviour: Behaviour) -> Behaviour:
    """A tool without arguments."""

    def run(call: Call) -> Ran:
        call.stake()
        return Ran()

    return _named(run, behaviour)


def _named(run: Callable[..., Ran], behaviour: Behaviour) -> Behaviour:
    run.__name__ = behaviour.__name__
    run.__doc__ = f"A fixture of the official suite: {behaviour.__name__}."
    tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CREATES)(run)
    behaviours[run.__name__] = behaviour
    return behaviour


@fixture
async def test_simple_text(context: Any, given: Any) -> Answer:
    return said("This is a simple text response for testing.")


@fixture
async def test_image_content(context: Any, given: Any) -> Answer:
    return result(image())


@fixture
async def test_audio_content(context: Any, given: Any) -> Answer:
    data = base64.b64encode(wav()).decode()
    return result(AudioContent(type="audio", data=data, mime_type="audio/wav"))


@fixture
async def test_embedded_resource(context: Any, given: Any) -> Answer:
    words = "This is an embedded resource content."
    return result(embedded("test://embedded-resource", "text/plain", words))


@fixture
async def test_multiple_content_types(context: Any, given: Any) -> Answer:
    inner = embedded(
        "test://mixed-content-resource", "application/json", '{"test":"data","value":123}'
    )
    return result(text("Multiple content types test:"), image(), inner)


@fixture
async def test_error_handling(context: Any, given: Any) -> Answer:
    return said("This tool intentionally returns an error for testing", is_error=True)


@fixture
async def test_tool_with_logging(context: Any, given: Any) -> Answer:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(words)
        await asyncio.sleep(0.05)
    return said("Three log messages were sent.")


@fixture
async def test_logging_tool(context: Any, given: Any) -> Answer:
    await context.info("Sent only to whoever asked for it.")
    return said("Done.")


@fixture
async def test_tool_with_progress(context: Any, given: Any) -> Answer:
    for done in (0, 50, 100):
        await context.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return said("Progress was reported.")


def _prompted(call: Call, prompt: Line) -> Ran:
    call.stake()
    return Ran()


def _messaged(call: Call, message: Line) -> Ran:
    call.stake()
    return Ran()


async def test_sampling(context: Any, given: Any) -> Answer:
    message = SamplingMessage(role="user", content=text(given["prompt"]))
    answer = await context.session.create_message(
        [message], max_tokens=100, related_request_id=context.request_context.request_id
    )
    return said(f"LLM response: {answer.content.text}")


async def test_elicitation(context: Any, given: Any) -> Answer:
    schema = {
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"},
        },
        "required": ["username", "email"],
    }
    return await _elicited(context, given["message"], schema, "User response")


_named(_prompted, test_sampling)
_named(_messaged, test_elicitation)


async def _elicited(context: Any, message: str, schema: dict[str, Any], says: str) -> Answer:
    answer = await context.session.elicit_form(
        message, schema, related_request_id=context.request_context.request_id
    )
    return said(f"{says}: action={answer.action}, content={json.dumps(answer.content)}")


@fixture
async def test_elicitation_sep1034_defaults(context: Any, given: Any) -> Answer:
    statuses = ["active", "inactive", "pending"]
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": statuses, "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    schema = {"type": "object", "properties": properties}
    return await _elicited(context, "Defaults?", schema, "Elicitation completed")


@fixture
async def test_elicitation_sep1330_enums(context: Any, given: Any) -> Answer:
    plain = ["option1", "option2", "option3"]
    order = ["First", "Second", "Third"]

    def titled(what: str) -> list[dict[str, str]]:
        return [{"const": f"value{n}", "title": f"{o} {what}"} for n, o in enumerate(order, 1)]

    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    }  # fmt: skip
    schema = {"type": "object", "properties": properties}
    return await _elicited(context, "Which?", schema, "Elicitation completed")


@fixture
async def test_missing_capability(context: Any, given: Any) -> Answer:
    declared = context.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY, message="This needs sampling.",
            data={"requiredCapabilities": {"sampling": {}}},
        )  # fmt: skip
    return said("The client can sample.")


@fixture
async def test_streaming_elicitation(context: Any, given: Any) -> Answer:
    return await test_input_required_result_elicitation(context, given)


@fixture
async def test_trigger_tool_change(context: Any, given: Any) -> Answer:
    await context.notify_tools_changed()
    return said("Told.")


@fixture
async def test_trigger_prompt_change(context: Any, given: Any) -> Answer:
    await context.notify_prompts_changed()
    return said("Told.")


@fixture
async def test_input_required_result_elicitation(context: Any, given: Any) -> Answer:
    answer = answers(context).get("user_name")
    content = getattr(answer, "content", None)
    if not isinstance(content, dict) or "name" not in content:
        return asking(user_name=form("What is your name?", name="string"))
    return said(f"Hello, {content['name']}!")


@fixture
async def test_input_required_result_sampling(context: Any, given: Any) -> Answer:
    answer = answers(context).get("capital_question")
    if answer is None:
        return asking(capital_question=sampled("What is the capital of France?"))
    return said(answer.content.text)


@fixture
async def test_input_required_result_list_roots(context: Any, given: Any) -> Answer:
    answer = answers(context).get("client_roots")
    if answer is None:
        return asking(client_roots=ListRootsRequest())
    return said(", ".join(str(root.uri) for root in answer.roots) or "no roots")


@fixture
async def test_input_required_result_request_state(context: Any, given: Any) -> Answer:
    if context.request_state is None or "confirm" not in answers(context):
        return asking("waiting", confirm=form("Please confirm", ok="boolean"))
    assert context.request_state == "waiting"
    return said("state-ok")


@fixture
async def test_input_required_result_tampered_state(context: Any, given: Any) -> Answer:
    return await test_input_required_result_request_state(context, given)


@fixture
async def test_input_required_result_multiple_inputs(context: Any, given: Any) -> Answer:
    got = answers(context)
    if {"user_name", "greeting", "client_roots"} <= set(got):
        name = got["user_name"].content["name"]
        return said(f"{got['greeting'].content.text} {name}, {len(got['client_roots'].roots)}")
    return asking(
        "three", user_name=form("What is your name?", name="string"),
        greeting=sampled("Generate a greeting", 50), client_roots=ListRootsRequest(),
    )  # fmt: skip


@fixture
async def test_input_required_result_multi_round(context: Any, given: Any) -> Answer:
    got, state = answers(context), context.request_state
    if state is None:
        return asking("1", step1=form("Step 1: What is your name?", name="string"))
    if state == "1":
        name = got["step1"].content["name"]
        question = form("Step 2: What is your favorite color?", color="string")
        return asking(f"2 {name}", step2=question)
    return said(f"{state[2:]} likes {got['step2'].content['color']}.")


@fixture
async def test_input_required_result_capabilities(context: Any, given: Any) -> Answer:
    declared = context.client_capabilities
    wanted: dict[str, Any] = {}
    if declared is not None and declared.elicitation is not None:
        wanted["user_name"] = form("What is your name?", name="string")
    if declared is not None and declared.sampling is not None:
        wanted["greeting"] = sampled("Generate a greeting", 50)
    if not wanted or set(wanted) <= set(answers(context)):
        return said("Nothing more is needed.")
    return asking(**wanted)


# -- resources and prompts -----------------------------------------------------------------------


@tools.resource("test://static-text", scope=Scope.INVENTORY_READ, mime_type="text/plain")
def static_text(call: Call) -> str:
    """Text that never changes."""
    return "This is the content of the static text resource."


@tools.resource("test://static-binary", scope=Scope.INVENTORY_READ, mime_type="image/png")
def static_binary(call: Call) -> bytes:
    """An image that never changes."""
    return png()


@tools.resource("test://template/{id}/data", scope=Scope.INVENTORY_READ)
def template(call: Call, id: Identifier) -> str:
    """Data made from an id."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@tools.prompt()
def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@tools.prompt()
def test_prompt_with_arguments(arg1: Line, arg2: Line) -> str:
    """A prompt with two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@tools.prompt()
def test_prompt_with_embedded_resource(resourceUri: Line) -> str:  # noqa: N803
    """A prompt that embeds a resource."""
    return resourceUri


@tools.prompt()
def test_prompt_with_image() -> str:
    """A prompt with an image."""
    return "An image follows."


@tools.prompt()
def test_input_required_result_prompt() -> str:
    """A prompt that asks before it answers."""
    return "It depends."


@tools.completes("arg1")
def arguments(call: Call, prefix: Line) -> list[str]:
    """What completion is asked for."""
    return [word for word in ("paris", "park", "test") if word.startswith(prefix)]


def policy_in(folder: Path) -> Path:
    """Every fixture is allowed, again and again; it is recorded all the same."""
    names = [spec.policy for spec in tools.tools.values()] + ["approvals.cancel"]
    lines = [f"[{name}]\nlevel = 0\nrepeatable = true\n" for name in names]
    path = folder / "policy.toml"
    path.write_text('currency = "EUR"\n' + "".join(lines))
    return path
