"""agent-security-harness: the protocol's attacks, against one server and two people."""

import json
import secrets
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from benchmarks.requests import Target
from common.server import QUESTION
from common.server.listening import APPROVAL
from tests.judges.outside.approval import UNITS
from tests.judges.outside.stage import ANA, BEN, Stage, Verdict

ROOT: Final = Path(__file__).resolve().parents[3]
NEW_ERA: Final = "2026-07-28"
META: Final[dict[str, Any]] = {
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}
}
AGREED: Final = {QUESTION: {"action": "accept", "content": {"agree": True}}}
FORGED: Final = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL290aGVyLmV4YW1wbGUifQ.c2ln"

# What has no object here, and why. Anything else that stays open fails the run.
NOWHERE: Final = {
    "MCP-RC-008": "a server's list is the same for every caller, as long as it runs",
    "MCP-RC-011": "wants a refusal; a trace's context is recorded and decides nothing",
    "MCP-007": "no server declares sampling; decided by the run 'fixture'",
    "MCP-015": "no tool takes a URI; decided by the run 'fixture'",
}
# In the older era these have no object; the newer era decides them.
NEW_ONLY: Final = frozenset(f"MCP-RC-{number:03}" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10))
# A call that was agreed to and done is answered with its receipt, so nothing is asked again.
ASKED_ANEW: Final = frozenset(("MCP-RC-004", "MCP-RC-005"))
OVER_STDIO: Final = "MCP-017"


async def attacked(stage: Stage) -> list[Verdict]:
    """Every check of the harness, over HTTP in both eras, and what it can only ask over stdio."""
    ana, ben = await stage.token(ANA), await stage.token(BEN)
    other = await stage.token(ANA, "orders")
    article = await stage.an_article()
    stock = f"inventory://warehouse/{article['warehouse']}/stock"
    signed = [
        "--transport", "http", "--url", stage.url(), "--header", f"Authorization:Bearer {ana}",
        "--audience-attacker-header", f"Authorization:Bearer {other}",
        "--issuer-probe", _request("tools/list"),
        "--issuer-attacker-header", f"Authorization:{FORGED}",
    ]  # fmt: skip
    new = [
        "--protocol-version", NEW_ERA, "--mrtr-probe", _reorder(article, 1),
        "--mrtr-altered-probe", _reorder(article, 2), "--mrtr-input-responses", json.dumps(AGREED),
        "--mrtr-attacker-header", f"Authorization:Bearer {ben}", "--cache-resource-uri", stock,
    ]  # fmt: skip
    held = [
        "--handle-create", _asking(article, "handlePath"), "--handle-access", _watching("$HANDLE"),
        "--handle-attacker-header", f"Authorization:Bearer {ben}",
        "--task-create", _asking(article, "taskIdPath"), "--task-read", _watching("$TASK_ID"),
        "--task-attacker-header", f"Authorization:Bearer {ben}",
    ]  # fmt: skip
    command = f"{sys.executable} -m servers inventory"
    bound = ["--categories", "mrtr_request_state"]
    return [
        await _held(stage, article, ana, ben),
        *await _ran(stage, "modern", *signed, *new, *held),
        *await _ran(stage, "binding", *signed, *[_other(each, article) for each in new], *bound),
        *await _ran(stage, "legacy", *signed),
        *await _ran(
            stage, "stdio", "--transport", "stdio", "--command", command,
            "--categories", "stdio_security",
        ),
    ]  # fmt: skip


def _request(method: str, **params: Any) -> str:
    return json.dumps({"method": method, "params": params})


def _reorder(article: dict[str, Any], quantity: int) -> str:
    """A call that the caller's own person must confirm."""
    arguments = article | {"quantity": quantity}
    return _request("tools/call", name="create_reorder", arguments=arguments, _meta=META)


def _asking(article: dict[str, Any], path: str) -> str:
    """A call that waits for a person. What is handed out, and lasts, is the approval's id."""
    arguments = {
        "sku": article["sku"], "warehouse": article["warehouse"], "quantity": UNITS,
        "reason": "found", "idempotency_key": secrets.token_hex(8),
    }  # fmt: skip
    asked = json.loads(_request("tools/call", name="adjust_stock", arguments=arguments))
    return json.dumps(asked | {path: "result.structuredContent.approval_id"})


def _watching(handle: str) -> str:
    uris = {"resourceSubscriptions": [f"{APPROVAL}{handle}"]}
    return _request("subscriptions/listen", notifications=uris)


async def _held(stage: Stage, article: dict[str, Any], ana: str, ben: str) -> Verdict:
    """What the harness does not look at: that the handle opens for whom it was made."""
    parts = urlsplit(stage.url())
    target = Target(parts.port or 80, parts.path)
    asked = json.loads(_asking(article, "-"))["params"]
    answers = {}

    async def post(token: str, request: bytes) -> tuple[int, bytes]:
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
        headers = dict(lines) | {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(timeout=30) as http,
            http.stream("POST", stage.url(), content=body, headers=headers) as answer,
        ):
            async for part in answer.aiter_raw():
                return answer.status_code, part
            return answer.status_code, b""

    _, made = await post(ana, target.call(asked["name"], asked["arguments"]))
    handle = json.loads(made)["result"]["structuredContent"]["approval_id"]
    watch = json.loads(_watching(handle))["params"]
    for who, token in (("owner", ana), ("other", ben)):
        answers[who], _ = await post(token, target.request("subscriptions/listen", watch))
    good = answers == {"owner": 200, "other": 400}
    return Verdict("handles", "owner only", "passed" if good else "failed", f"answered {answers}")


def _other(argument: str, article: dict[str, Any]) -> str:
    """The same option for calls that are never agreed to, so that each round asks anew."""
    if argument == json.dumps(AGREED):
        return json.dumps({QUESTION: {"action": "cancel"}})
    for quantity in (1, 2):
        if argument == _reorder(article, quantity):
            return _reorder(article, quantity + 2)
    return argument


async def _ran(stage: Stage, name: str, *arguments: str) -> list[Verdict]:
    return [_verdict(name, each) for each in await reported(stage, name, *arguments)]


async def reported(stage: Stage, name: str, *arguments: str) -> list[dict[str, Any]]:
    """What the harness reports of each check; of a run without a report, one that failed."""
    report = stage.folder / f"harness-{name}.json"
    code, said = await stage.run(
        "agent-security", "test", "mcp", *arguments, "--report", str(report),
        SHOP_HOME=str(stage.shop.settings.home), PYTHONPATH=str(ROOT),
    )  # fmt: skip
    if not report.exists():
        return [{"test_id": "run", "passed": False, "details": f"{code}: {said[-400:]}"}]
    results: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["results"]
    return results


def _verdict(name: str, result: dict[str, Any]) -> Verdict:
    check, details = str(result["test_id"]), str(result["details"])
    if result["passed"]:
        outcome = "passed"
    elif name == "modern" and check in ASKED_ANEW:
        outcome, details = "no object", "the call is done already; decided by the run 'binding'"
    elif name == "binding" and check not in ASKED_ANEW:
        outcome, details = "no object", "decided by the run 'modern'"
    elif not details.startswith("INCONCLUSIVE"):
        outcome = "failed"
        if check == "MCP-RC-003" and _same_receipt(result):
            outcome, details = "passed", "a repeated answer got the same receipt, marked replayed"
    elif check in NOWHERE:
        outcome, details = "no object", NOWHERE[check]
    elif name == "legacy" and (check in NEW_ONLY or check == "MCP-011"):
        outcome, details = "no object", "decided in the newer era"
    elif name != "stdio" and check == OVER_STDIO:
        outcome, details = "no object", "decided over stdio"
    else:
        outcome = "inconclusive"
    return Verdict(f"harness {name}", check, outcome, details)


def _same_receipt(result: dict[str, Any]) -> bool:
    """The harness wants an error where an answer is sent twice. A retry must survive here: it gets
    what was done the first time, and nothing is done again."""
    answer = (result.get("response_received") or {}).get("result") or {}
    return (answer.get("structuredContent") or {}).get("replayed") is True
