"""What is checked on a server, each check a function that raises when it does not hold."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from jsonschema import Draft202012Validator
from mcp import Client, MCPError

INVALID_PARAMS: Final = -32602


@dataclass(frozen=True)
class Target:
    """``allowed``: the caller's scopes, None for all of them."""

    server: str
    mode: str
    version: str
    allowed: frozenset[str] | None = None

    def may(self, tool: Any) -> bool:
        """Whether the caller may call it."""
        return self.allowed is None or (tool.meta or {}).get("shop/scope") in self.allowed


@dataclass(frozen=True)
class Check:
    server: str
    mode: str
    name: str
    ok: bool
    detail: str
    checked: bool = True
    """False where the caller may not do what it takes: then ``detail`` says why."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Failed(Exception):
    """A check does not hold."""


class NotChecked(Exception):
    """The caller may not do what the check takes."""


def expect(condition: object, why: str) -> None:
    """Raise Failed unless the condition holds."""
    if not condition:
        raise Failed(why)


async def version(target: Target, client: Client) -> str:
    """The era that was asked for is the one that is spoken."""
    expect(client.protocol_version == target.version, f"speaks {client.protocol_version}")
    info = client.server_info
    expect(info is not None and info.version, "the server names no version")
    expect(client.instructions, "no instructions")
    return client.protocol_version


async def tools(target: Target, client: Client) -> str:
    """Names, descriptions, hints and schemas of every tool."""
    listed = (await client.list_tools()).tools
    expect(4 <= len(listed) <= 25, f"{len(listed)} tools")
    expect(len({tool.name for tool in listed}) == len(listed), "a name twice")
    for tool in listed:
        hints = tool.annotations
        expect(tool.description and len(tool.description) >= 20, f"{tool.name}: no description")
        expect(hints is not None, f"{tool.name}: no annotations")
        assert hints is not None
        for hint in (
            hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint,
            hints.open_world_hint,
        ):  # fmt: skip
            expect(isinstance(hint, bool), f"{tool.name}: a hint is missing")
        Draft202012Validator.check_schema(tool.input_schema)
        expect(tool.input_schema.get("additionalProperties") is False, f"{tool.name}: open schema")
        expect(tool.output_schema, f"{tool.name}: no output schema")
        Draft202012Validator.check_schema(tool.output_schema or {})
        expect('"number"' not in json.dumps(tool.input_schema), f"{tool.name}: a float")
        expect("shop/scope" in (tool.meta or {}), f"{tool.name}: no scope")
    names = {tool.name for tool in listed}
    expect({"approval_status", "approval_cancel"} <= names, "no approval tools")
    expect(not any("approve" in name for name in names), "a tool that decides approvals")
    return f"{len(listed)} tools"


async def resources(target: Target, client: Client) -> str:
    """Every static resource can be read, and a template is served."""
    listed = (await client.list_resources()).resources
    templates = (await client.list_resource_templates()).resource_templates
    expect(listed or templates, "no resources")
    for resource in listed:
        contents = (await client.read_resource(resource.uri)).contents
        expect(contents, f"{resource.uri}: empty")
    return f"{len(listed)} resources, {len(templates)} templates"


async def prompts(target: Target, client: Client) -> str:
    """Every prompt that needs nothing can be had."""
    listed = (await client.list_prompts()).prompts
    expect(listed, "no prompts")
    for prompt in listed:
        if not any(argument.required for argument in prompt.arguments or []):
            got = await client.get_prompt(prompt.name, {})
            expect(got.messages, f"{prompt.name}: no messages")
    return f"{len(listed)} prompts"


async def reads(target: Target, client: Client) -> str:
    """Every reading tool that needs nothing answers with structured content and text."""
    called, listed = 0, (await client.list_tools()).tools
    for tool in listed:
        if not (tool.annotations and tool.annotations.read_only_hint):
            continue
        if tool.input_schema.get("required") or not target.may(tool):
            continue
        result: Any = await client.call_tool(tool.name, {})
        if result.is_error and result.structured_content["code"] == "invalid_parameters":
            continue  # it needs one argument or another
        expect(not result.is_error, f"{tool.name}: {result.structured_content}")
        expect(isinstance(result.structured_content, dict), f"{tool.name}: not structured")
        expect(result.content and result.content[0].text, f"{tool.name}: no text")
        called += 1
    if not called and not any(target.may(tool) for tool in listed):
        raise NotChecked("the caller may call nothing here")
    expect(called, "nothing to read")
    return f"{called} tools read"


async def refusals(target: Target, client: Client) -> str:
    """Unknown names answer −32602; bad arguments a typed refusal that names the field."""
    await _invalid(client.call_tool("no_such_tool", {}))
    await _invalid(client.get_prompt("no_such_prompt", {}))
    await _invalid(client.read_resource(f"{target.server}://no/such/thing"))
    tried = 0
    for tool in (await client.list_tools()).tools:
        if not target.may(tool):
            continue
        result: Any = await client.call_tool(tool.name, {"no_such_argument": True})
        refusal = result.structured_content
        expect(result.is_error, f"{tool.name} took an unknown argument")
        expect(refusal["code"] == "invalid_parameters", f"{tool.name}: {refusal}")
        expect({"code", "message", "details", "next"} <= set(refusal), f"{tool.name}: {refusal}")
        tried += 1
    return f"{tried} tools refused"


async def _invalid(awaited: Awaitable[Any]) -> None:
    try:
        await awaited
    except MCPError as error:
        expect(error.error.code == INVALID_PARAMS, f"answered {error.error.code}")
        return
    raise Failed("an unknown name was accepted")


CHECKS: Final[dict[str, Callable[[Target, Client], Awaitable[str]]]] = {
    check.__name__: check for check in (version, tools, resources, prompts, reads, refusals)
}
