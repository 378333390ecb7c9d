"""``python -m tests.deploy.render``: the chart with its default values, as plain manifests."""

import subprocess
from pathlib import Path

from tests.support.helm import helm_program

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
HEAD = (
    "# Rendered from deploy/helm/shop with its default values by `make manifests`. Do not edit.\n"
)


def main() -> None:
    """Write deploy/kubernetes/shop.yaml."""
    done = subprocess.run(
        [helm_program(), "template", "shop", str(DEPLOY / "helm" / "shop"), "--namespace", "shop"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    target = DEPLOY / "kubernetes" / "shop.yaml"
    target.parent.mkdir(exist_ok=True)
    target.write_text(HEAD + done.stdout)


if __name__ == "__main__":
    main()
