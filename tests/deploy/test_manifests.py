"""What is in deploy/ is what its readers (Kubernetes, Helm, compose, nginx) accept."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import Draft7Validator

from common.http.serving import GRACE_S
from common.settings import NAMES
from common.storage import grants
from servers.run import DOMAINS
from tests.support import helm as helm_support
from tests.support import node, unavailable
from tests.support.serving import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "shop"
KUBERNETES = ("1.30", "1.34", "1.37")


@pytest.fixture(scope="module")
def helm() -> str:
    try:
        return helm_support.helm_program()
    except node.Unavailable as error:
        unavailable(str(error))


def rendered(helm: str, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [helm, "template", "shop", str(CHART), *options],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return [part for part in yaml.safe_load_all(done.stdout) if part]


def containers(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in manifests:
        if manifest["kind"] in {"Deployment", "Job"}:
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                yield manifest["metadata"]["name"], container


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--set", "autoscaling.enabled=false,ingress.enabled=false,networkPolicy.enabled=false"),
        ("--set", "identity.authServer=true,identity.issuers=,anchors.existingClaim=kept"),
        (
            "--set-string", "policy=x = 1,settings.SHOP_LOG_LEVEL=info",
            "--set", "secretSettings.SHOP_STRIPE_KEY.secret=s,secretSettings.SHOP_STRIPE_KEY.key=k",
        ),
    ],
    ids=["default", "bare", "own-identity", "more-settings"],
)  # fmt: skip
def test_every_manifest_is_valid(helm: str, options: tuple[str, ...]) -> None:
    subprocess.run([helm, "lint", "--strict", "--quiet", str(CHART)], check=True, timeout=60)
    for manifest in rendered(helm, *options):
        for version in KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_value_is_refused(helm: str) -> None:
    for option in (
        "publicUrl=http://shop.example.com", "publicUrl=https://Shop.Example.com", "image.tg=1",
        "servers.kitchen.replicas=1", "ingress.enbled=false", "networkPolicy.databasePort=5432s",
        "identity.issuers=", "anchors.size=", "settings.SHOP_DUTIES=off",
        "secretSettings.SHOP_DATABASE_URL.secret=s,secretSettings.SHOP_DATABASE_URL.key=k",
    ):  # fmt: skip
        done = subprocess.run(
            [helm, "template", "shop", str(CHART), "--set", option],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode != 0, option


def test_names_and_settings_are_what_a_cluster_takes(helm: str) -> None:
    options = ("publicUrl=https://shop.example.com:8443", "settings.SHOP_LOG_FORMAT=text",
               "settings.SHOP_TRUSTED_PROXIES=10.0.0.0/8")  # fmt: skip
    manifests = rendered(helm, "--set-string", ",".join(options))
    (ingress,) = [each for each in manifests if each["kind"] == "Ingress"]
    assert ingress["spec"]["rules"][0]["host"] == "shop.example.com"
    for name, container in containers(manifests):
        named = [entry["name"] for entry in container["env"]]
        assert len(set(named)) == len(named), f"{name}: the last one wins, or none"


def test_one_pod_alone_can_be_moved_to_another_machine(helm: str) -> None:
    """A budget that keeps the only one keeps the machine too."""
    for manifest in rendered(helm, "--set", "desk.replicas=1,servers.orders.replicas=1"):
        if manifest["kind"] == "PodDisruptionBudget":
            assert "minAvailable" not in manifest["spec"], manifest["metadata"]["name"]


def test_no_service_beside_it_sets_anything(helm: str) -> None:
    """A service called shop-http would be SHOP_HTTP_PORT=tcp://…"""
    for manifest in rendered(helm):
        if manifest["kind"] in {"Deployment", "Job"}:
            assert manifest["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_each_server_has_its_own_account_and_its_own_passwords(helm: str) -> None:
    passwords, accounts = {}, {}
    for manifest in rendered(helm):
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            name = manifest["metadata"]["name"].removeprefix("shop-")
            accounts[name] = pod["serviceAccountName"]
            mounted = {volume["name"]: volume for volume in pod["volumes"]}
            passwords[name] = [item["key"] for item in mounted["passwords"]["secret"]["items"]]
    assert passwords == {name: [f"pgpass-{name}"] for name in (*DOMAINS, "desk")}
    assert len(set(accounts.values())) == len(accounts)


def test_one_deployment_has_the_duties_and_the_anchors(helm: str) -> None:
    for manifest in rendered(helm):
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            env = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
            desk = manifest["metadata"]["name"] == "shop-desk"
            assert env["SHOP_DUTIES"] == ("1" if desk else "0")
            assert ("anchors" in {volume["name"] for volume in pod["volumes"]}) == desk


def test_each_has_probes_a_budget_and_nothing_it_need_not_have(helm: str) -> None:
    manifests = rendered(helm)
    budgets = {m["metadata"]["name"] for m in manifests if m["kind"] == "PodDisruptionBudget"}
    for name, container in containers(manifests):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["limits"]["memory"], name
        if name != "shop-migrate":
            assert name in budgets
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), name


def test_no_secret_stands_in_a_manifest(helm: str) -> None:
    manifests = rendered(helm)
    assert not [m for m in manifests if m["kind"] == "Secret"]
    for name, container in containers(manifests):
        for entry in container["env"]:
            if re.search("URL$|KEY$|SECRET|PASSWORD$", entry["name"]):
                told = entry.get("value", "")
                assert told.startswith(("https://", "postgresql+asyncpg://")) or entry["valueFrom"]
                assert not re.search(r"://[^/@]*:[^/@]*@", told), (name, entry)


def test_settings_named_in_deploy_exist() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix not in {".py", ".pyc", ".sql", ".mako"}:
            named = set(re.findall(r"\bSHOP_[A-Z_]+\b", path.read_text()))
            ours = {
                "SHOP_HOST",
                "SHOP_DATABASE_PASSWORD",
                "SHOP_OWNER_PASSWORD",
                "SHOP_SERVERS_PASSWORD",
            }  # compose's own
            unknown = {name for name in named - ours - set(NAMES) if not name.endswith("_")}
            assert not unknown, path


def test_the_plain_manifests_are_the_charts(helm: str) -> None:
    plain = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "shop.yaml").read_text()))
    assert plain == rendered(helm, "--namespace", "shop"), "run: make manifests"


def test_compose_file() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    schema = get_builtin_schema("vendor.compose-spec")
    errors = [error.message for error in Draft7Validator(schema).iter_errors(compose)]
    assert not errors
    assert compose["services"]["servers"]["stop_grace_period"] == f"{GRACE_S + 20}s"
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and not source.endswith("/tls"):
                assert (DEPLOY / source).exists(), source


def test_the_database_knows_every_login_beforehand() -> None:
    """With a password, that is: `shop db grants` makes those that are missing without one."""
    made = re.findall(
        r"^CREATE ROLE (shop_\w+) (.*)$", (DEPLOY / "database.sh").read_text(), re.MULTILINE
    )
    assert made.pop(0)[0] == "shop_owner"
    assert [name for name, _ in made] == list(grants.roles())
    assert {how for _, how in made} == {"LOGIN NOINHERIT PASSWORD :'servers';"}


def test_the_proxys_configuration(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        unavailable("nginx is not installed")
    certificate(tmp_path)
    text = (DEPLOY / "proxy" / "shop.conf").read_text()
    text = text.replace("${SHOP_HOST}", "shop.example.com").replace("/etc/nginx/tls", str(tmp_path))
    text = text.replace("/run/", f"{tmp_path}/").replace("listen 443", f"listen {free_port()}")
    for host in ("servers:", "identity:"):
        text = text.replace(f"server {host}", "server 127.0.0.1:")
    config = tmp_path / "shop.conf"
    config.write_text(text)
    done = subprocess.run(
        [nginx, "-t", "-q", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def certificate(folder: Path) -> None:
    """A key and a certificate for shop.example.com, as PEM."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example.com")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "tls.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )  # fmt: skip
