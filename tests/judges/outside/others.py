"""mcp-ssrf-check and mcp-fuzzer."""

import json
import re
from typing import Final

from tests.judges.outside.stage import ANA, Stage, Verdict

RUNS: Final = 5
_TOOL: Final = re.compile(
    r"^  (\w+): (\d+) runs.*\n.*?(\d+) transport/protocol anomalies, (\d+) crashes",
    re.MULTILINE,
)


async def doors(stage: Stage) -> list[Verdict]:
    """A wrong Host, a foreign Origin and a null one."""
    report = stage.folder / "doors.json"
    code, said = await stage.run(
        "mcp-ssrf-check", "--url", stage.url(), "--json-out", str(report),
        MCP_SSRF_CHECK_BEARER=await stage.token(ANA),
    )  # fmt: skip
    if code != 0 or not report.exists():
        return [Verdict("mcp-ssrf-check", "run", "failed", said[-400:])]
    words = {"pass": "passed", "info": "passed", "skip": "no object"}
    return [
        Verdict("mcp-ssrf-check", c["id"], words.get(c["status"], c["status"]), c["detail"])
        for c in json.loads(report.read_text(encoding="utf-8"))["checks"]
    ]


async def fuzzed(stage: Stage) -> list[Verdict]:
    """Good and bad arguments for every tool: nothing crashes, nothing is out of protocol.

    What the fuzzer calls malformed and accepted it judges by names alone (an optional argument that
    it left out); strict schemas are judged by our own tests.
    """
    found = []
    for domain in ("inventory", "orders", "storefront"):
        key = {"type": "api_key", "api_key": await stage.token(ANA, domain), "prefix": "Bearer",
               "header_name": "Authorization"}  # fmt: skip
        auth = stage.folder / "fuzzer.json"
        auth.write_text(json.dumps({"providers": {"ana": key}, "default_provider": "ana"}))
        code, said = await stage.run(
            "mcp-fuzzer", "--mode", "tools", "--protocol", "streamablehttp", "--seed", "1",
            "--endpoint", stage.url(domain), "--runs", str(RUNS), "--phase", "both",
            "--auth-config", str(auth), "--output-dir", str(stage.folder / "fuzzer"),
        )  # fmt: skip
        auth.unlink()
        tools = _TOOL.findall(said)
        calls = sum(int(runs) for _, runs, _, _ in tools)
        bad = [name for name, _, anomalies, crashes in tools if int(anomalies) or int(crashes)]
        good = code == 0 and tools and not bad
        details = f"{len(tools)} tools, {calls} calls, anomalies or crashes in {bad or 'none'}"
        said = details if tools else said[-400:]
        found.append(Verdict("mcp-fuzzer", domain, "passed" if good else "failed", said))
    return found
