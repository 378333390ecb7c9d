"""Key files: made once, by whoever comes first, for nobody else to read."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from common.keys import KeyUnusable, anchor_key, read_public_key, request_state_key
from common.settings import inherited

ROOT = Path(__file__).parents[2]


def test_made_once(tmp_path: Path) -> None:
    keys = tmp_path / "deep" / "keys"
    first = request_state_key(keys)
    assert len(first) == 32
    assert request_state_key(keys) == first
    signature = anchor_key(keys).sign(b"x")
    assert anchor_key(keys).sign(b"x") == signature
    read_public_key(keys / "anchor.pub").verify(signature, b"x")
    assert sorted(path.name for path in keys.iterdir()) == [
        "anchor.key", "anchor.pub", "request-state.key",
    ]  # fmt: skip


def test_for_nobody_else(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    request_state_key(keys)
    anchor_key(keys)
    assert keys.stat().st_mode & 0o777 == 0o700
    assert (keys / "anchor.key").stat().st_mode & 0o777 == 0o600
    assert (keys / "request-state.key").stat().st_mode & 0o777 == 0o600


MAKER = """
import sys
from pathlib import Path
from common.keys import anchor_key, request_state_key

print("ready", flush=True)
sys.stdin.read()
for number in range(20):
    folder = Path(sys.argv[1]) / str(number)
    print(request_state_key(folder).hex(), anchor_key(folder).sign(b"x").hex())
"""


def test_seven_at_once(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, str(tmp_path)], cwd=ROOT, env=inherited(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(7)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert len(said) == 1, "the processes have different keys"
    assert said.pop().count("\n") == 20
    assert {len(list(folder.iterdir())) for folder in tmp_path.iterdir()} == {3}


def test_read_only_folder(tmp_path: Path) -> None:
    """A folder with the two secret files, as an orchestrator mounts them."""
    anchor_key(tmp_path)
    request_state_key(tmp_path)
    (tmp_path / "anchor.pub").unlink()
    assert anchor_key(tmp_path).sign(b"x")


def pem_of_another_kind() -> tuple[bytes, bytes]:
    key = generate_private_key(SECP256R1())
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_state_key_of_wrong_length(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "request-state.key").write_bytes(content)
    with pytest.raises(KeyUnusable, match="must hold 32 bytes"):
        request_state_key(tmp_path)


def test_anchor_keys_that_are_none(tmp_path: Path) -> None:
    private, public = pem_of_another_kind()
    for content, why in ((b"", "not a private key"), (private, "must be an Ed25519 key")):
        (tmp_path / "anchor.key").write_bytes(content)
        with pytest.raises(KeyUnusable, match=why):
            anchor_key(tmp_path)
    for content, why in ((b"x", "not a public key"), (public, "must be an Ed25519 key")):
        (tmp_path / "anchor.pub").write_bytes(content)
        with pytest.raises(KeyUnusable, match=why):
            read_public_key(tmp_path / "anchor.pub")
    with pytest.raises(KeyUnusable, match="cannot be read"):
        read_public_key(tmp_path / "nowhere.pub")


def test_halves_that_do_not_belong_together(tmp_path: Path) -> None:
    anchor_key(tmp_path / "one")
    anchor_key(tmp_path / "two")
    (tmp_path / "one" / "anchor.pub").replace(tmp_path / "two" / "anchor.pub")
    with pytest.raises(KeyUnusable, match="does not belong"):
        anchor_key(tmp_path / "two")


def test_key_path_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "request-state.key").mkdir()
    with pytest.raises(KeyUnusable, match="cannot be read"):
        request_state_key(tmp_path)
