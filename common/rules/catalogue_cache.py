"""What the catalogue said a moment ago: of one process, dropped when the catalogue changes.

A stamp in the database, moved by triggers, is read before anything is answered from here, so that
a change by another server or worker is seen by the next call. The time limit is for what no stamp
tells: a promotion of the search itself, a clock set back.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import func, select

from common.call import Call
from common.storage import hot
from common.tables.inventory import CatalogueStamp

T = TypeVar("T")

LIFE: Final = timedelta(minutes=5)
MOST_ENTRIES: Final = 500
_STAMP: Final = select(func.sum(CatalogueStamp.__table__.c.changes).label("changes"))


@dataclass(frozen=True)
class _Entry:
    stamp: int
    until: datetime
    value: Any


_lock = Lock()  # readers of one database may be on several threads
_caches: WeakKeyDictionary[Any, OrderedDict[Any, _Entry]] = WeakKeyDictionary()


def remembered(call: Call, key: tuple[Any, ...], find: Callable[[], T]) -> T:
    """What ``find`` answered before, if nothing has changed since. Values are shared by calls and
    must not be changed, nor hold rows of a session or anything of one person."""
    cache = _caches.setdefault(call.session.get_bind().engine, OrderedDict())
    # Read first: what is found afterwards is never older than the stamp says.
    stamp = int(hot.first(call.session, _STAMP).changes or 0)
    with _lock:
        entry = cache.get(key)
        if entry is not None and entry.stamp == stamp and call.now < entry.until:
            cache.move_to_end(key)
            return entry.value  # type: ignore[no-any-return]
    value = find()
    if not _uncommitted(call):
        with _lock:
            cache[key] = _Entry(stamp, call.now + LIFE, value)
            while len(cache) > MOST_ENTRIES:
                cache.popitem(last=False)
    return value


def _uncommitted(call: Call) -> bool:
    """A changing call sees its own changes, which may be undone: it fills no cache."""
    return bool(call.session.info.get("write"))
