"""``make bench``: every measurement that needs nothing but this machine, one after the other.

python -m benchmarks [--quick]
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database on a PostgreSQL of our own, as durable as in production."""
    from tests.support.postgres import EmbeddedServer, Postgres

    with tempfile.TemporaryDirectory(prefix="shop-bench-pg-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder))
        server.start(durable=True)
        try:
            yield Postgres(server.url, "bench").create_database()
        finally:
            server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0, or the first failure's exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    quick = parser.parse_args(arguments).quick
    pace = ["--seconds", "1", "--rounds", "3"] if quick else []
    sizes = ["--sizes", "10000", "100000"] if quick else []
    with postgres() as url:
        parts = [
            ("Calls beside the bare SDK", ["calls", *pace, "--postgres", url]),
            ("Other servers, an empty call", ["peers", *pace]),
            ("Starting over stdio", ["startup", *(["--rounds", "2"] if quick else [])]),
            ("Tool lists", ["tools"]),
            ("Growth", ["growth", *sizes]),
            ("Audit", ["audit"]),
            ("Tokens", ["tokens"]),
            ("Search", ["search"]),
        ]
        for title, (module, *options) in parts:
            print(f"\n## {title}\n\n`python -m benchmarks.{' '.join([module, *options])}`\n")
            sys.stdout.flush()
            command = [sys.executable, "-m", f"benchmarks.{module}", *options]
            done = subprocess.run(command, check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
