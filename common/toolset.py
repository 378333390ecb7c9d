"""Declare a tool once: its scope, its effect, its policy rule. Everything else is derived.

A ``Toolset`` is one server's tools, resources, prompts and completions as data. Importing it opens
no socket and no database. Annotations, schemas, ``_meta``, the policy table of the documentation
and the contract snapshots all come from these declarations.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_type_hints
from urllib.parse import parse_qsl, unquote

from pydantic import BaseModel

from common.errors import InvalidParameters
from common.scopes import Scope, of_domain
from common.telemetry import span
from common.widgets import Widget
from common.wire import (
    ApprovalId,
    IdempotencyKey,
    arguments_model,
    input_schema,
    logged_fields,
    output_schema,
)

F = TypeVar("F", bound=Callable[..., Any])


class Effect(Enum):
    """What a tool does to the shop. CREATES adds and destroys nothing; CHANGES may."""

    READS = "reads"
    CREATES = "creates"
    CHANGES = "changes"


class Progress(Protocol):
    """Handed to a compute step, which runs in a thread outside every transaction."""

    def report(self, done: int, total: int, message: str = "") -> None: ...

    def cancelled(self) -> bool: ...


@dataclass(frozen=True)
class Computation:
    """Long work between a reading and the writing transaction.

    ``prepare(call, **arguments)`` reads; ``compute(data, progress)`` works without a database; the
    tool then gets the outcome as its keyword ``plan``.
    """

    prepare: Callable[..., Any]
    compute: Callable[[Any, Progress], Any]


@dataclass(frozen=True)
class ToolSpec:
    domain: str
    run: Callable[..., BaseModel]
    scope: Scope
    effect: Effect
    policy: str
    computation: Computation | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()

    def rule(self, call: Any, **arguments: Any) -> BaseModel:
        """Run the rule, inside the transaction of ``call``."""
        with span("rule", server=self.domain, tool=self.name):
            return self.run(call, **arguments)

    @property
    def changes(self) -> bool:
        return self.effect is not Effect.READS

    @cached_property
    def description(self) -> str:
        return inspect.getdoc(self.run) or ""

    @cached_property
    def arguments(self) -> type[BaseModel]:
        guards: dict[str, Any] = {}
        if self.changes:
            guards = {
                "idempotency_key": (IdempotencyKey | None, None),
                "approval_id": (ApprovalId | None, None),
            }
        return arguments_model(self.run, extra=guards)

    @cached_property
    def logged(self) -> frozenset[str]:
        return logged_fields(self.arguments)

    @cached_property
    def result(self) -> type[BaseModel]:
        returned = get_type_hints(self.run).get("return")
        if not (isinstance(returned, type) and issubclass(returned, BaseModel)):
            raise TypeError(f"{self.name} must return a result model")
        return returned

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        return input_schema(self.arguments)

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        return output_schema(self.result, waiting=self.changes)


@dataclass(frozen=True)
class ResourceSpec:
    domain: str
    uri: str
    run: Callable[..., Any]
    scope: Scope
    mime_type: str
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def template(self) -> bool:
        return "{" in self.uri

    @cached_property
    def description(self) -> str:
        return inspect.getdoc(self.run) or ""

    @cached_property
    def arguments(self) -> type[BaseModel]:
        return arguments_model(self.run)


@dataclass(frozen=True)
class PromptSpec:
    """A prompt is text made from its arguments: ``run(**arguments) -> str``."""

    domain: str
    run: Callable[..., str]

    @property
    def name(self) -> str:
        return self.run.__name__

    @cached_property
    def description(self) -> str:
        return inspect.getdoc(self.run) or ""

    @cached_property
    def arguments(self) -> type[BaseModel]:
        return arguments_model(self.run, skip=0)


Completer = Callable[..., list[str]]


@dataclass
class Toolset:
    """One server as data. ``instructions`` is what a host tells the model about the server."""

    domain: str
    title: str
    instructions: str
    tools: dict[str, ToolSpec] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    resources: dict[str, ResourceSpec] = field(default_factory=dict)
    prompts: dict[str, PromptSpec] = field(default_factory=dict)
    completers: dict[str, Completer] = field(default_factory=dict)
    widgets: dict[str, Widget] = field(default_factory=dict)

    def widget(self, name: str, folder: Path, description: str, *, doing: str, done: str) -> None:
        """Offer the page ``<folder>/widgets/<name>.js``, in both forms, to whoever may read."""
        file = folder / "widgets" / f"{name}.js"
        made = Widget(self.domain, name, file, description, doing, done)
        self._once(self.widgets, name, made)

        def run(call: Any) -> str:
            return made.page()

        run.__name__, run.__doc__ = f"{name.replace('-', '_')}_widget", description
        for uri, (mime_type, meta) in made.forms.items():
            self.resource(uri, scope=of_domain(self.domain)[0], mime_type=mime_type, meta=meta)(run)

    def tool(
        self,
        *,
        scope: Scope,
        effect: Effect,
        policy: str | None = None,
        computation: Computation | None = None,
        widget: str | None = None,
        aliases: tuple[str, ...] = (),
        meta: dict[str, Any] | None = None,
    ) -> Callable[[F], F]:
        """Register ``run(call, …) -> Result``. ``policy`` names a rule of the policy file; a
        changing tool's is ``<server>.<tool>`` unless said, a reading tool has none. ``widget``
        names the one, declared before, that shows what it answers. ``aliases`` are names it had
        before: they are answered for a release, and listed no more."""
        shown = self.widgets[widget].tool_meta if widget else {}

        def register(run: F) -> F:
            rule = "" if effect is Effect.READS else policy or f"{self.domain}.{run.__name__}"
            said = shown | (meta or {})
            spec = ToolSpec(self.domain, run, scope, effect, rule, computation, said)
            for alias in aliases:
                self._once(self.aliases, alias, spec.name)
            self._once(self.tools, spec.name, spec)
            return run

        return register

    def find(self, name: str) -> ToolSpec | None:
        """The tool of this name, or that had it before."""
        return self.tools.get(self.aliases.get(name, name))

    def resource(
        self,
        uri: str,
        *,
        scope: Scope,
        mime_type: str = "application/json",
        meta: dict[str, Any] | None = None,
    ) -> Callable[[F], F]:
        """Register ``run(call, …)`` answering a Result, or text or bytes of ``mime_type``."""

        def register(run: F) -> F:
            spec = ResourceSpec(self.domain, uri, run, scope, mime_type, meta or {})
            self._once(self.resources, uri, spec)
            return run

        return register

    def prompt(self) -> Callable[[F], F]:
        """Register ``run(**arguments) -> str``. Arguments are text, as the protocol has it."""

        def register(run: F) -> F:
            self._once(self.prompts, run.__name__, PromptSpec(self.domain, run))
            return run

        return register

    def completes(self, *arguments: str) -> Callable[[F], F]:
        """Register ``run(call, prefix) -> list[str]`` for arguments of prompts and templates."""

        def register(run: F) -> F:
            for argument in arguments:
                self._once(self.completers, argument, run)
            return run

        return register

    def resource_for(self, uri: str) -> tuple[ResourceSpec, dict[str, str]] | None:
        """The resource a URI names, and the template's values in it."""
        if uri in self.resources and not self.resources[uri].template:
            return self.resources[uri], {}
        for spec in self.resources.values():
            values = _match(spec.uri, uri)
            if values is not None:
                return spec, values
        return None

    def _once(self, place: dict[str, Any], name: str, spec: Any) -> None:
        if name in place:
            raise ValueError(f"{self.domain} already has {name}")
        place[name] = spec


def _match(template: str, uri: str) -> dict[str, str] | None:
    path, _, query_names = template.partition("{?")
    given, _, query = uri.partition("?")
    if query and not query_names:
        return None
    pattern = "".join(
        f"(?P<{part[1:-1]}>[^/?#]+)" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{\w+\})", path)
    )
    found = re.fullmatch(pattern, given)
    if found is None:
        return None
    values = {name: unquote(value, errors="strict") for name, value in found.groupdict().items()}
    allowed = set(query_names.rstrip("}").split(",")) if query_names else set()
    for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=8):
        if name not in allowed or name in values:
            raise InvalidParameters.field(name, value, "no such parameter of this resource")
        values[name] = value
    return values
