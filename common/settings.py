"""Everything the environment may set, read in one place.

==========================  ==========================================================
SHOP_HOME                   folder of the embedded database, keys and anchors
SHOP_DATABASE_URL           ``sqlite:///file`` or ``postgresql+asyncpg://…``, one host or several
SHOP_DATABASE_ROLES         ``1``: each server has its own login in PostgreSQL (``shop db grants``)
SHOP_DATABASE_POOL          connections a process and login may hold; default ``16``
SHOP_POLICY_FILE            policy in place of the default one
SHOP_OPERATOR               who sits at the desktop host (a subject, such as an e-mail)
SHOP_SCOPES                 scopes of a local caller, by spaces; default: all but decide
SHOP_CUSTOMER               the customer (id or e-mail) who shops over stdio; default: a guest
SHOP_GUEST_CART_MINUTES     how long a guest's cart lasts after its last change; default ``10``
SHOP_CHECKOUT_MINUTES       how long stock waits for a payment; default ``15``
SHOP_READ_ONLY              ``1``: no tool changes anything and the database opens read-only
SHOP_DUTIES                 ``0``: sweeps, anchors and the outbox are left to other processes
SHOP_RATE_LIMITS            calls a minute/at once: ``writes=60/20 money=10/5``; ``off``: none
SHOP_LOG_LEVEL              ``warning`` unless said
SHOP_LOG_FORMAT             ``text``, or ``json``: one object a line
SHOP_TRACES_URL             OTLP collector of traces over HTTP (extra ``traces``)
SHOP_ANCHOR_FILE            where anchors are appended; default ``$SHOP_HOME/anchors.jsonl``
SHOP_KEY_DIR                keys kept outside the database; default ``$SHOP_HOME/keys``
SHOP_PUBLIC_URL             where clients reach the HTTP face; default ``http://127.0.0.1:8300``
SHOP_HTTP_HOST              address to listen on; default ``127.0.0.1``
SHOP_HTTP_PORT              port to listen on; default the public URL's
SHOP_HTTP_WORKERS           processes that answer HTTP; default ``1``
SHOP_ALLOWED_HOSTS          exact ``Host`` values, by spaces; default the public URL's
SHOP_ALLOWED_ORIGINS        exact browser origins, by spaces; default the public URL's
SHOP_TLS                    ``terminated``: a proxy in front speaks TLS, as it must off loopback
SHOP_TRUSTED_PROXIES        addresses or networks whose ``X-Forwarded-For`` is believed; ``*``: all
SHOP_ISSUERS_FILE           authorization servers that are trusted (TOML); default: our own
SHOP_AUTH_SERVER            ``1``: run the small authorization server; default on loopback only
SHOP_AUTH_BASIC             ``1``: accept ``X-MCP-Auth`` (development, loopback only)
SHOP_GATEWAY                who moves the money: ``simulator`` (nobody does) or ``stripe``
SHOP_STRIPE_KEY             secret or restricted key; a live one is refused unless allowed
SHOP_STRIPE_WEBHOOK_SECRET  what Stripe signs its webhooks with; without it none is taken
SHOP_STRIPE_URL             another server than Stripe's, for tests: https or this machine
SHOP_ALLOW_LIVE             ``1``: a live key is meant, and real money may move
SHOP_METRICS_FROM           addresses or networks that may read ``/metrics``; default loopback
SHOP_ACCESS_LOG             ``1``: one line a request on standard error
SHOP_ROUTE_ENGINE           ``default``, or ``pyvrp`` with the extra ``[routing]``
SHOP_TRAVEL_TIMES           ``osrm`` or ``valhalla``; default: distance and speed, offline
SHOP_TRAVEL_URL             where that server answers, ``http(s)://host[:port][/path]``
==========================  ==========================================================
"""

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import SplitResult, urlsplit

from common.call_rates import rates
from common.scopes import Scope
from common.setting_values import SettingError, choice, flag, networks, number, spelt, words

NAMES = (
    "SHOP_HOME", "SHOP_DATABASE_URL", "SHOP_DATABASE_ROLES", "SHOP_DATABASE_POOL",
    "SHOP_POLICY_FILE", "SHOP_OPERATOR", "SHOP_SCOPES", "SHOP_RATE_LIMITS",
    "SHOP_CUSTOMER", "SHOP_GUEST_CART_MINUTES", "SHOP_CHECKOUT_MINUTES",
    "SHOP_READ_ONLY", "SHOP_DUTIES", "SHOP_LOG_LEVEL", "SHOP_LOG_FORMAT", "SHOP_TRACES_URL",
    "SHOP_ANCHOR_FILE", "SHOP_KEY_DIR",
    "SHOP_PUBLIC_URL", "SHOP_HTTP_HOST", "SHOP_HTTP_PORT", "SHOP_HTTP_WORKERS",
    "SHOP_ALLOWED_HOSTS", "SHOP_ALLOWED_ORIGINS", "SHOP_TLS", "SHOP_TRUSTED_PROXIES",
    "SHOP_ISSUERS_FILE", "SHOP_AUTH_SERVER", "SHOP_AUTH_BASIC",
    "SHOP_GATEWAY", "SHOP_STRIPE_KEY", "SHOP_STRIPE_WEBHOOK_SECRET", "SHOP_STRIPE_URL",
    "SHOP_ALLOW_LIVE",
    "SHOP_METRICS_FROM", "SHOP_ACCESS_LOG",
    "SHOP_ROUTE_ENGINE", "SHOP_TRAVEL_TIMES", "SHOP_TRAVEL_URL",
)  # fmt: skip


LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
DATABASES = ("sqlite:///", "postgresql+asyncpg://")


@dataclass(frozen=True)
class HttpSettings:
    """The HTTP face. ``public_url`` has no trailing slash: audiences and the issuer begin so."""

    public_url: str
    host: str
    port: int
    workers: int
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    tls_terminated: bool
    trusted_proxies: tuple[str, ...]
    issuers_file: Path | None
    auth_server: bool
    auth_basic: bool
    metrics_from: tuple[str, ...]
    access_log: bool

    @classmethod
    def load(cls, env: Mapping[str, str]) -> "HttpSettings":
        """From a mapping. Raises SettingError."""
        public_url = (env.get("SHOP_PUBLIC_URL") or "http://127.0.0.1:8300").rstrip("/").lower()
        parts = _http_url("SHOP_PUBLIC_URL", public_url, "http(s)://host[:port]")
        if public_url != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
            raise SettingError("SHOP_PUBLIC_URL", public_url, "http(s)://host[:port]")
        own_port = parts.port or (443 if parts.scheme == "https" else 80)
        host = env.get("SHOP_HTTP_HOST") or "127.0.0.1"
        issuers = env.get("SHOP_ISSUERS_FILE")
        loopback = host in LOOPBACK and parts.hostname in LOOPBACK
        return cls(
            public_url=public_url,
            host=host,
            port=number(env, "SHOP_HTTP_PORT", own_port, 1, 65_535),
            workers=number(env, "SHOP_HTTP_WORKERS", 1, 1, 1_000),
            allowed_hosts=words(env, "SHOP_ALLOWED_HOSTS", parts.netloc),
            allowed_origins=words(env, "SHOP_ALLOWED_ORIGINS", public_url),
            tls_terminated=choice(env, "SHOP_TLS", "", ("", "terminated")) == "terminated",
            trusted_proxies=networks(env, "SHOP_TRUSTED_PROXIES", "", "*"),
            issuers_file=Path(issuers).expanduser() if issuers else None,
            auth_server=flag(env, "SHOP_AUTH_SERVER", loopback),
            auth_basic=flag(env, "SHOP_AUTH_BASIC"),
            metrics_from=networks(env, "SHOP_METRICS_FROM", "127.0.0.1 ::1"),
            access_log=flag(env, "SHOP_ACCESS_LOG"),
        )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    def audience(self, domain: str) -> str:
        """The resource a token must be for: one a server."""
        return f"{self.public_url}/{domain}/mcp"


@dataclass(frozen=True)
class GatewaySettings:
    """The payment provider. What must stay secret is not shown when this is printed."""

    name: str
    stripe_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    stripe_url: str | None
    allow_live: bool

    @classmethod
    def load(cls, env: Mapping[str, str]) -> "GatewaySettings":
        return cls(
            name=env.get("SHOP_GATEWAY") or "simulator",
            stripe_key=env.get("SHOP_STRIPE_KEY", ""),
            webhook_secret=env.get("SHOP_STRIPE_WEBHOOK_SECRET", ""),
            stripe_url=env.get("SHOP_STRIPE_URL") or None,
            allow_live=flag(env, "SHOP_ALLOW_LIVE"),
        )


@dataclass(frozen=True)
class StorefrontSettings:
    """What the shopper's side is told. Minutes are from 1 to 1440."""

    customer: str = ""
    guest_cart_minutes: int = 10
    checkout_minutes: int = 15

    @classmethod
    def load(cls, env: Mapping[str, str]) -> "StorefrontSettings":
        """From a mapping. Raises SettingError."""
        return cls(
            env.get("SHOP_CUSTOMER", ""),
            number(env, "SHOP_GUEST_CART_MINUTES", cls.guest_cart_minutes, 1, 1440),
            number(env, "SHOP_CHECKOUT_MINUTES", cls.checkout_minutes, 1, 1440),
        )


@dataclass(frozen=True)
class RoutingSettings:
    """How routes are planned. ``travel_times`` is empty for distance and speed."""

    engine: str = "default"
    travel_times: str = ""
    travel_url: str = ""

    @classmethod
    def load(cls, env: Mapping[str, str]) -> "RoutingSettings":
        """From a mapping. Raises SettingError, also for a server without a URL."""
        engine = choice(env, "SHOP_ROUTE_ENGINE", cls.engine, ("default", "pyvrp"))
        kind = choice(env, "SHOP_TRAVEL_TIMES", cls.travel_times, ("", "osrm", "valhalla"))
        url = env.get("SHOP_TRAVEL_URL") or ""
        if kind:
            _http_url("SHOP_TRAVEL_URL", url, "http(s)://host[:port][/path]")
        return cls(engine, kind, url.rstrip("/"))


@dataclass(frozen=True)
class Settings:
    """Read once at start and passed on."""

    home: Path
    database_url: str
    database_roles: bool
    database_pool: int
    policy_file: Path | None
    operator: str
    scopes: frozenset[str]
    read_only: bool
    duties: bool
    rate_limits: str
    log_level: str
    log_format: str
    traces_url: str
    anchor_file: Path
    key_dir: Path
    http: HttpSettings
    gateway: GatewaySettings
    storefront: StorefrontSettings
    routing: RoutingSettings

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """From the environment, or from a mapping in its place. Raises SettingError."""
        env = spelt(os.environ if environment is None else environment, NAMES, "SHOP_")
        home = Path(env.get("SHOP_HOME") or _default_home(env)).expanduser()
        policy = env.get("SHOP_POLICY_FILE")
        database_url = _database_url(env, home)
        return cls(
            home=home,
            database_url=database_url,
            database_roles=_roles(env, database_url),
            database_pool=number(env, "SHOP_DATABASE_POOL", 16, 1, 1_000),
            policy_file=Path(policy).expanduser() if policy else None,
            operator=env.get("SHOP_OPERATOR") or _login(),
            scopes=_scopes(env),
            read_only=flag(env, "SHOP_READ_ONLY"),
            duties=flag(env, "SHOP_DUTIES", True),
            rate_limits=_rate_limits(env),
            log_level=_log_level(env),
            log_format=choice(env, "SHOP_LOG_FORMAT", "text", ("text", "json")),
            traces_url=env.get("SHOP_TRACES_URL", ""),
            anchor_file=Path(env.get("SHOP_ANCHOR_FILE") or home / "anchors.jsonl").expanduser(),
            key_dir=Path(env.get("SHOP_KEY_DIR") or home / "keys").expanduser(),
            http=HttpSettings.load(env),
            gateway=GatewaySettings.load(env),
            storefront=StorefrontSettings.load(env),
            routing=RoutingSettings.load(env),
        )


METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SHARED_MEMORY = "/dev/shm"


def metrics_folder() -> Path | None:
    """Where the workers' figures meet."""
    folder = os.environ.get(METRICS_FOLDER)
    return Path(folder) if folder else None


@contextmanager
def figures_shared(workers: int) -> Iterator[None]:
    """A folder where several workers' figures meet, for the library that looks for its name when
    it is imported: enter this before anything of ``common.http`` is. In memory where there is such
    a place: the files are mapped, and on a full disk a worker that touches them is killed."""
    if workers < 2:
        yield
        return
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="shop-metrics-", dir=memory) as folder:
        os.environ[METRICS_FOLDER] = folder
        yield


def inherited(**changes: str) -> dict[str, str]:
    """The environment for a subprocess: what a program needs to run, and our own settings."""
    keep = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV", *NAMES}
    keep |= {"PGPASSFILE", "PGSSLMODE", "PGSSLROOTCERT"}  # read by the driver itself
    return {key: value for key, value in os.environ.items() if key in keep} | changes


def _http_url(name: str, url: str, form: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # no such port, no such host
        right = False
    if not right:
        raise SettingError(name, url, form)
    return parts


def _database_url(env: Mapping[str, str], home: Path) -> str:
    url = env.get("SHOP_DATABASE_URL") or f"sqlite:///{home / 'shop.db'}"
    if not url.startswith(DATABASES):
        shown = url.partition(":")[0]  # what follows may hold a password
        raise SettingError("SHOP_DATABASE_URL", shown, " or ".join(f"{d}…" for d in DATABASES))
    if url.startswith(DATABASES[1]):
        try:
            parts = urlsplit(url)
            right = parts.port != 0 and not parts.fragment and "@" not in parts.path
        except ValueError:  # no such port, no such host
            right = False
        if not right:
            form = f"{DATABASES[1]}host:port/name, with the password percent-encoded"
            raise SettingError("SHOP_DATABASE_URL", f"{DATABASES[1]}…", form)
    return url


def _roles(env: Mapping[str, str], database_url: str) -> bool:
    """A URL that was forgotten would begin an empty shop in a file, where there are no roles."""
    wanted = flag(env, "SHOP_DATABASE_ROLES")
    if wanted and not database_url.startswith(DATABASES[1]):
        raise SettingError("SHOP_DATABASE_ROLES", "1", "0 without PostgreSQL in SHOP_DATABASE_URL")
    return wanted


def _scopes(env: Mapping[str, str]) -> frozenset[str]:
    known = [str(scope) for scope in Scope]
    if "SHOP_SCOPES" not in env:
        return frozenset(known) - {str(Scope.APPROVALS_DECIDE)}
    said = env["SHOP_SCOPES"].split()
    for scope in said:
        if scope not in known:
            raise SettingError("SHOP_SCOPES", scope, f"of {', '.join(known)}")
    return frozenset(said)


def _rate_limits(env: Mapping[str, str]) -> str:
    said = env.get("SHOP_RATE_LIMITS", "")
    rates(said)  # refused here, not when the shop opens
    return said


def _log_level(env: Mapping[str, str]) -> str:
    said = (env.get("SHOP_LOG_LEVEL") or "").lower()
    return choice({"SHOP_LOG_LEVEL": said}, "SHOP_LOG_LEVEL", "warning", LOG_LEVELS).upper()


def _default_home(env: Mapping[str, str]) -> str:
    base = env.get("XDG_DATA_HOME") or "~/.local/share"
    return f"{base}/shop"


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
