"""House rules that a machine can check, and what every tool must declare."""

import ast
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from common.approvals.tools import offered_by
from common.canonical import compact
from common.policy import Policy
from common.scopes import Scope
from common.server import annotations, listing
from common.server.completing import completing
from common.toolset import Effect, Toolset, ToolSpec
from servers.run import DOMAINS

ROOT = Path(__file__).parent.parent
SOURCE = ("common", "servers", "clients", "benchmarks", "deploy")
MOST_TOOLS = 25
MODEL_TOKENS, LIST_TOKENS = 6_000, 12_000


def files(*folders: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    return [ROOT / name for name in listed if name.endswith(".py") and (ROOT / name).exists()]


def modules_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def toolset(domain: str) -> Toolset:
    return offered_by(import_module(f"servers.{domain}.tools").tools)


def every_tool() -> list[ToolSpec]:
    return [spec for domain in DOMAINS for spec in toolset(domain).tools.values()]


def named(spec: ToolSpec) -> str:
    return f"{spec.domain}.{spec.name}"


def test_common_never_imports_servers_or_clients() -> None:
    bad = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files("common")
        for module in modules_imported(path)
        if module.split(".")[0] in {"servers", "clients", "tests"}
    ]
    assert not bad


def test_servers_never_import_each_other() -> None:
    bad = []
    for path in files("servers"):
        parts = path.relative_to(ROOT).parts
        own = parts[1] if len(parts) > 2 else ""
        for module in modules_imported(path):
            names = module.split(".")
            if names[0] == "servers" and len(names) > 1 and own and names[1] != own:
                bad.append(f"{'/'.join(parts)} imports {module}")
    assert not bad


def test_two_rooms_know_the_protocol() -> None:
    """The SDK stays in common/server and common/http; no tool and no rule sees it."""
    bad = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files("servers", "common")
        if path.relative_to(ROOT).parts[:2] not in {("common", "server"), ("common", "http")}
        for module in modules_imported(path)
        if module.split(".")[0] in {"mcp", "mcp_types"}
    ]
    assert not bad


def test_rules_know_no_http() -> None:
    bad = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files("servers", "common/rules")
        for module in modules_imported(path)
        if module.split(".")[0] == "starlette"
    ]
    assert not bad


def test_sizes() -> None:
    bad = []
    for path in files(*SOURCE):
        text = path.read_text()
        name = path.relative_to(ROOT)
        if text.count("\n") > 400:
            bad.append(f"{name}: {text.count(chr(10))} lines")
        bad += [
            f"{name}:{number}: {len(line)} columns"
            for number, line in enumerate(text.split("\n"), 1)
            if len(line) > 100
        ]
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and "versions" not in name.parts
            ):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 70:
                    bad.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert not bad


def test_commit_appears_once() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files(*SOURCE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    ]
    assert len(found) == 1, found
    assert found[0].startswith("common/storage/database.py")


def test_every_migration_says_whether_the_program_before_it_may_stay() -> None:
    bad = [
        path.name
        for path in files("deploy/migrations/versions")
        if "0020" <= path.name[:4] < "9999" and "\ncompatible = " not in path.read_text()
    ]
    assert not bad, "say compatible = True or False: docs/deployment.md has the rules"


def test_one_reader_of_the_environment() -> None:
    bad = [
        str(path.relative_to(ROOT))
        for path in files(*SOURCE)
        if path.name != "settings.py"
        and re.search(
            r"\bos\.(environ|getenv)\b|from os import .*\b(environ|getenv)\b", path.read_text()
        )
    ]
    assert not bad


def test_every_setting_is_documented() -> None:
    import common.settings as settings

    assert settings.__doc__
    source = Path(settings.__file__).read_text()
    read = set(re.findall(r'"(SHOP_[A-Z_]+)"', source))
    assert read == set(settings.NAMES)
    for name in read:
        assert re.search(rf"^{name} ", settings.__doc__, re.MULTILINE), f"{name} is not documented"


def test_nothing_unfinished() -> None:
    bad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files("common", "servers", "clients")
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", line)
    ]
    assert not bad


@pytest.mark.parametrize("domain", DOMAINS)
def test_tool_count(domain: str) -> None:
    assert len(toolset(domain).tools) <= MOST_TOOLS


def test_tool_names_are_unique_in_the_fleet() -> None:
    seen: dict[str, str] = {}
    for spec in every_tool():
        if spec.name in {"approval_status", "approval_cancel"}:
            continue
        assert spec.name not in seen, f"{named(spec)} and {seen[spec.name]}.{spec.name}"
        seen[spec.name] = spec.domain


@pytest.mark.parametrize("spec", every_tool(), ids=named)
def test_declaration(spec: ToolSpec) -> None:
    assert isinstance(spec.scope, Scope)
    assert spec.scope.startswith(f"{spec.domain}:")
    assert isinstance(spec.effect, Effect)
    hints = annotations(spec)
    for hint in ("read_only_hint", "destructive_hint", "idempotent_hint", "open_world_hint"):
        assert isinstance(getattr(hints, hint), bool), hint
    assert len(spec.description) >= 20, "the model needs a description"
    assert len(spec.description) <= 1_000
    assert spec.description == spec.description.strip()
    assert "\n    " not in spec.description, "not dedented"


@pytest.mark.parametrize("spec", [s for s in every_tool() if s.changes], ids=named)
def test_policy_rule_exists(spec: ToolSpec) -> None:
    assert spec.policy in Policy.load(None).rules()


def test_no_policy_rule_without_a_tool() -> None:
    used = {spec.policy for spec in every_tool() if spec.changes}
    assert set(Policy.load(None).rules()) - used == set()


@pytest.mark.parametrize("spec", every_tool(), ids=named)
def test_schemas(spec: ToolSpec) -> None:
    schema = spec.input_schema
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    for node in walk(schema):
        if node.get("type") == "object" and "properties" in node:
            assert node.get("additionalProperties") is False
    assert spec.output_schema["type"] == "object"
    for node in [*walk(schema), *walk(spec.output_schema)]:
        assert node.get("type") != "number", "a float has no place in a schema"
        assert not isinstance(node.get("title"), str) or "properties" in node


@pytest.mark.parametrize("spec", every_tool(), ids=named)
def test_loose_types_are_refused(spec: ToolSpec) -> None:
    """Text for a number, a number for text, true for 1: all refused by the same strict model."""
    config = spec.arguments.model_config
    assert config["strict"] is True
    assert config["extra"] == "forbid"
    for node in walk(spec.input_schema):
        if node.get("type") == "integer" and "const" not in node and "enum" not in node:
            assert {"minimum", "exclusiveMinimum"} & set(node), f"unbounded integer in {node}"
            assert {"maximum", "exclusiveMaximum"} & set(node), f"unbounded integer in {node}"
        if node.get("type") == "array":
            assert "maxItems" in node, f"unbounded list in {node}"


@pytest.mark.parametrize("domain", DOMAINS)
def test_token_budget(domain: str) -> None:
    """Four characters a token: what a host shows its model, and the whole list."""
    specs = toolset(domain).tools.values()
    shown = sum(len(s.name) + len(s.description) + len(compact(s.input_schema)) for s in specs) // 4
    listed = [listing(s).model_dump(mode="json", by_alias=True, exclude_none=True) for s in specs]
    whole = len(compact(listed)) // 4
    assert shown <= MODEL_TOKENS, shown
    assert whole <= LIST_TOKENS, whole


def test_every_resource_prompt_and_completion_is_described() -> None:
    for domain in DOMAINS:
        offered = completing(toolset(domain))
        for resource in offered.resources.values():
            assert len(resource.description) >= 20, resource.uri
            for name in resource.arguments.model_fields:
                if not name.startswith("days"):
                    assert name in offered.completers, f"{resource.uri} {name} has no completion"
        for prompt in offered.prompts.values():
            assert len(prompt.description) >= 20, prompt.name


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from walk(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from walk(item)
