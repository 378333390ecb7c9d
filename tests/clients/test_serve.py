"""``make serve``: what it prints, and that what it prints is there."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest

from clients.serve import instructions
from common.settings import Settings, inherited
from servers.run import DOMAINS
from tests.support.http import free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 150


def test_the_first_steps_are_said(tmp_path: Path) -> None:
    settings = Settings.load({"SHOP_HOME": str(tmp_path)})
    said = instructions(settings, people=0, approvers=0)
    for domain in DOMAINS:
        assert f"http://127.0.0.1:8300/{domain}/mcp" in said
    assert "/console" in said
    assert ".venv/bin/shop config cursor --url http://127.0.0.1:8300" in said
    assert ".venv/bin/shop config vscode --url http://127.0.0.1:8300" in said
    assert "user add" in said
    assert "approver enroll" in said
    later = instructions(settings, people=2, approvers=1)
    assert "user add" not in later
    assert "approver enroll" not in later


@pytest.mark.slow
def test_it_serves_what_it_prints(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "clients.serve"], cwd=ROOT, text=True,
        env=inherited(SHOP_HOME=str(tmp_path / "home"), SHOP_PUBLIC_URL=url, PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    end = threading.Timer(PATIENCE_S, process.kill)
    end.start()
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Stop with" in line:
                break
        found = re.findall(rf"{url}/\w+/mcp", said)
        assert len(set(found)) == len(DOMAINS), said
        transport = httpx2.HTTPTransport(retries=8)
        with httpx2.Client(timeout=PATIENCE_S, transport=transport) as browser:
            for place in set(found):
                # The storefront takes guests: what they send is looked at, and is no message.
                expected = 400 if place.endswith("/storefront/mcp") else 401
                assert browser.post(place, json={}).status_code == expected
            assert browser.get(f"{url}/readyz").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, process.stdout.read()
    finally:
        end.cancel()
        process.kill()
        process.wait()
