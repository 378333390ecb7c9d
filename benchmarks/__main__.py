"""``make bench``: every measurement that needs nothing but this machine, one after the other.

    python -m benchmarks [--quick] [--markdown FILE] [--only PART …]

At the end one table sets the goals beside the figures.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks import goals

URL: Final = "postgresql+asyncpg://…"  # stands for an empty database in the commands shown


@contextmanager
def postgres() -> Iterator[Callable[[], str]]:
    """Gives URLs of empty databases on a PostgreSQL of our own, as durable as in production."""
    from tests.support.postgres import EmbeddedServer, Postgres

    with tempfile.TemporaryDirectory(prefix="shop-bench-pg-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder))
        server.start(durable=True)
        try:
            yield Postgres(server.url, "bench").create_database
        finally:
            server.stop()


def parts(url: str, *, quick: bool) -> list[tuple[str, list[str]]]:
    """Title, module and options of every measurement. All of it takes about a quarter of an hour
    on two quiet cores, the quick form a few minutes."""
    pace = ["--seconds", "0.5", "--rounds", "2"]
    narrow = ["--connections", "16", "--workers", "1"] if quick else []
    few = ["--calls", "100", "--rounds", "2"]
    sizes = ["--sizes", "10000", "100000"] if quick else []
    return [
        ("Calls beside the bare SDK", ["calls", *pace, *narrow, "--postgres", url]),
        ("Where a call's time goes", ["layers", *few, "--postgres", url]),
        ("Other servers, an empty call", ["peers", *pace]),
        ("Starting over stdio", ["startup", "--rounds", "1"]),
        ("Calls over stdio", ["stdio", *pace]),
        ("Tool lists and results", ["tools"]),
        ("Growth", ["growth", *sizes]),
        ("Audit", ["audit", "--seconds", "1", "--rounds", "2"]),
        ("Tokens", ["tokens"]),
        ("Search", ["search", *(["--products", "2000"] if quick else [])]),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0, or 1 when a measurement failed; the others are made all the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="minutes instead of a quarter hour")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it all there, too")
    parser.add_argument("--only", nargs="+", metavar="PART", help="modules, such as calls audit")
    options = parser.parse_args(arguments)
    tables: dict[str, list[goals.Row]] = {}
    report, failed = [], []
    with postgres() as urls:
        for title, (module, *more) in parts(URL, quick=options.quick):
            if options.only and module not in options.only:
                continue
            shown = f"## {title}\n\n`python -m benchmarks.{' '.join([module, *more])}`\n"
            print(f"\n{shown}", flush=True)
            own = [urls() if option == URL else option for option in more]
            status, printed = _run(module, own)
            if status:
                failed.append(module)
                print(f"{module} ended with {status}.", flush=True)
            tables[module] = goals.rows(printed)
            report.append(f"{shown}\n{printed.strip()}\n")
    summary = f"## Goals\n\n{goals.table(tables)}\n"
    print(f"\n{summary}")
    if options.markdown:
        options.markdown.write_text("\n".join([summary, *report]), "utf-8")
    return 1 if failed else 0


def _run(module: str, options: Sequence[str]) -> tuple[int, str]:
    """Exit status and what was printed, which is shown as it comes."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return running.returncode, "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
