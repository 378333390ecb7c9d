"""Which scopes one message needs, from the toolset's own declarations. Closed: what is not known
here is refused here."""

from dataclasses import dataclass
from typing import Any, Final

from common.errors import ShopError
from common.http.answers import INVALID_PARAMS, METHOD_NOT_FOUND, protocol
from common.scopes import Scope
from common.toolset import Toolset

APPROVAL: Final = "approvals://request/"
MOST_WATCHED: Final = 64
PLAIN: Final = frozenset({
    "initialize", "ping", "server/discover",
    "tools/list", "resources/list", "resources/templates/list", "prompts/list",
    "prompts/get", "completion/complete",
})  # fmt: skip
NOTIFICATIONS: Final = frozenset({
    "notifications/initialized", "notifications/cancelled", "notifications/progress",
    "notifications/roots/list_changed",
})  # fmt: skip
_STREAMED = frozenset({"progressToken", "io.modelcontextprotocol/logLevel"})


@dataclass(frozen=True)
class Need:
    """``scopes`` in the order a challenge names them; ``target`` is what a record names.

    ``streams``: the answer may need more than one message.
    """

    scopes: tuple[str, ...]
    target: str
    tool: str = ""
    streams: bool = False


@dataclass(frozen=True)
class Needs:
    """What every message to one server needs. ``extra``: further methods, on the base scope."""

    toolset: Toolset
    base: Scope
    extra: frozenset[str] = frozenset()

    def of(self, message: dict[str, Any], *, old_era: bool) -> Need:
        """Raises Refused for a method or a tool that does not exist."""
        method, params, id = message.get("method"), message.get("params") or {}, message.get("id")
        only_base = (str(self.base),)
        status = 200 if old_era and id is not None else 400
        if method is None:
            return Need(only_base, "answer")
        if method == "tools/call":
            return self._tool(params, id, status)
        if method == "resources/read":
            return self._resource(params.get("uri"))
        if method == "subscriptions/listen":
            return Need(self._watched(params, id, status), method, streams=True)
        if method in PLAIN or method in NOTIFICATIONS or method in self.extra:
            return Need(only_base, method, streams=method in self.extra)
        raise protocol(
            status if status == 200 else 404, METHOD_NOT_FOUND, "unknown_method",
            f"Method not found: {method[:80]}", id,
        )  # fmt: skip

    def _tool(self, params: dict[str, Any], id: Any, status: int) -> Need:
        name = params.get("name")
        spec = self.toolset.find(name) if isinstance(name, str) else None
        if spec is None:
            raise protocol(
                status, INVALID_PARAMS, "unknown_tool", f"Unknown tool: {str(name)[:80]}", id
            )
        meta = params.get("_meta")
        asked = isinstance(meta, dict) and bool(_STREAMED & set(meta))
        streams = asked or spec.computation is not None
        return Need(self._with(spec.scope), spec.name, spec.name, streams)

    def _resource(self, uri: Any) -> Need:
        found = self._found(uri)
        if found is None:
            # The server finds nothing either, by the same table, and says so in its own words.
            return Need((str(self.base),), "resources/read")
        return Need(self._with(found), "resources/read")

    def _watched(self, params: dict[str, Any], id: Any, status: int) -> tuple[str, ...]:
        wanted = params.get("notifications")
        uris = wanted.get("resourceSubscriptions") if isinstance(wanted, dict) else None
        scopes: list[str] = [str(self.base)]
        if uris is None:
            return tuple(scopes)
        if not isinstance(uris, list) or len(uris) > MOST_WATCHED:
            raise protocol(
                status, INVALID_PARAMS, "bad_params", f"At most {MOST_WATCHED} resources.", id
            )
        for uri in uris:
            if isinstance(uri, str) and uri.startswith(APPROVAL):
                continue  # one's own requests: the server looks whose it is
            found = self._found(uri)
            if found is None:
                raise protocol(status, INVALID_PARAMS, "bad_params", "No such resource.", id)
            scopes += [scope for scope in self._with(found) if scope not in scopes]
        return tuple(scopes)

    def _found(self, uri: Any) -> Scope | None:
        try:
            found = self.toolset.resource_for(uri) if isinstance(uri, str) else None
        except (ShopError, UnicodeDecodeError):
            return None
        return found[0].scope if found else None

    def _with(self, scope: Scope) -> tuple[str, ...]:
        return (str(self.base),) if scope == self.base else (str(self.base), str(scope))
