"""What tool lists cost a model: tokens by server, four characters a token.

python -m benchmarks.tools
"""

import sys
from importlib import import_module

from common.approvals.tools import offered_by
from common.canonical import compact
from common.server import listing
from servers.run import DOMAINS


def main() -> int:
    """Exit 0."""
    print("| server | tools | what a model is shown | the whole list |\n| --- | --- | --- | --- |")
    for domain in DOMAINS:
        specs = offered_by(import_module(f"servers.{domain}.tools").tools).tools.values()
        shown = sum(
            len(spec.name) + len(spec.description) + len(compact(spec.input_schema))
            for spec in specs
        )
        whole = len(
            compact([
                listing(spec).model_dump(mode="json", by_alias=True, exclude_none=True)
                for spec in specs
            ])
        )  # fmt: skip
        print(f"| {domain} | {len(specs)} | {shown // 4:,} | {whole // 4:,} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
