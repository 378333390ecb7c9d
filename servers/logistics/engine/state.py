"""The routes of a running search: linked stops, their times, and an undo log.

For every stop in a route the arrays hold what a trial insertion beside it needs: the nodes before
and after, the metres to them, the earliest departure of itself and of its predecessor, the latest
start of itself and the latest arrival at its successor (Savelsbergh 1992, forward slack).
"""

from collections.abc import Iterator, Sequence

from servers.logistics.engine.network import Network
from servers.logistics.engine.routes import latest_start, next_start

NOWHERE = -1


class State:
    def __init__(self, net: Network) -> None:
        count, vehicles = net.size, len(net.begin)
        self.net = net
        self.where = [NOWHERE] * count
        self.before = [0] * count
        self.after = [0] * count
        self.arc_before = [0] * count
        self.arc_after = [0] * count
        self.leave_before = [0] * count
        self.leave = [0] * count
        self.latest = [0] * count
        self.latest_after = [0] * count
        self.first = list(net.begin)
        """The begin node while the route is empty."""
        self.last = list(net.begin)
        self.length = [0] * vehicles
        self.room = [amounts[0] for amounts in net.room]
        self.more_room = [list(amounts[1:]) for amounts in net.room]
        self.idle: list[int] = []
        """By kind: a vehicle without stops, or NOWHERE."""
        self.absent: set[int] = set(range(count))
        self.cost = net.sunk + sum(net.base)
        self.missing = sum(net.penalty)
        self.changed: set[int] = set()
        """Routes that differ from the last `keep`."""
        self._log: dict[int, list[int]] = {}
        self._mark = (self.cost, self.missing, set(self.absent))
        self._kept: list[list[int]] = [[] for _ in range(vehicles)]
        for kind in range(len(net.kinds)):
            self.idle.append(NOWHERE)
            self._find_idle(kind)

    def objective(self) -> int:
        return self.cost + self.missing

    def stops_of(self, route: int) -> Iterator[int]:
        node, count = self.first[route], self.net.size
        while node < count:
            yield node
            node = self.after[node]

    def checkpoint(self) -> None:
        self._log.clear()
        self._mark = (self.cost, self.missing, set(self.absent))

    def undo(self) -> None:
        """Back to the last checkpoint."""
        for route in self._log:
            for x in self.stops_of(route):
                self.where[x] = NOWHERE
        for route, order in self._log.items():
            self._load(route, order)
        self._log.clear()
        self.cost, self.missing, absent = self._mark
        self.absent = set(absent)

    def keep(self) -> None:
        """Remember the routes as the best ones so far."""
        for route in self.changed:
            self._kept[route] = list(self.stops_of(route))
        self.changed.clear()

    def kept(self) -> list[list[int]]:
        return [list(order) for order in self._kept]

    def touch(self, route: int) -> None:
        """To be called before a route is changed."""
        if route not in self._log:
            self._log[route] = list(self.stops_of(route))
            self.changed.add(route)

    def insert(self, x: int, route: int, a: int, delta: int) -> None:
        """Put stop `x` after node `a`; `delta` is what that adds to the cost."""
        net = self.net
        self.touch(route)
        if a < net.size:
            b = self.after[a]
        else:
            b = self.first[route] if self.length[route] else net.end[route]
        self.where[x] = route
        self._link(route, a, x)
        self._link(route, x, b)
        self._take(route, x, 1)
        self.absent.discard(x)
        self.missing -= net.penalty[x]
        self.cost += delta
        if net.timed:
            self._push_forward(route, x)
            self._push_backward(route, x)

    def remove(self, x: int) -> None:
        """Take `x` out. The times of its route are stale until `retime`."""
        net = self.net
        route = self.where[x]
        self.touch(route)
        a, b = self.before[x], self.after[x]
        count, rate = net.size, net.rate[route]
        saved = self.arc_before[x] + self.arc_after[x]
        self.where[x] = NOWHERE
        self._take(route, x, -1)
        if self.length[route]:
            self._link(route, a, b)
            joined = self.arc_after[a] if a < count else self.arc_before[b]
            self.cost += (joined - saved) * rate
        else:
            self.first[route] = self.last[route] = net.begin[route]
            self.cost += net.base[route] - saved * rate - net.fixed[route]
        self.absent.add(x)
        self.missing += net.penalty[x]

    def retime(self, route: int) -> bool:
        """Recompute all times of a route; False if it breaks a window, the shift or the duty.

        Taking stops out can do that only where a detour is quicker than the direct way.
        """
        net = self.net
        if not net.timed or not self.length[route]:
            return True
        clock, a = net.ready[route], net.begin[route]
        x = self.first[route]
        while x < net.size:
            self.leave_before[x] = clock
            start = self._start(x, clock + net.seconds[a][x])
            if start is None:
                return False
            clock = start + net.service[x]
            self.leave[x] = clock
            a, x = x, self.after[x]
        if clock + net.seconds[a][net.end[route]] > net.limit[route]:
            return False
        self._push_backward(route, self.last[route], stop_early=False)
        return (
            not net.duty[route] or self.duty(list(self.stops_of(route)), route) <= net.duty[route]
        )

    def duty(self, order: Sequence[int], route: int) -> int:
        """Seconds between the latest departure that spoils nothing and the earliest return."""
        net = self.net
        clock, a, end = net.ready[route], net.begin[route], net.end[route]
        for x in order:
            arrival = clock + net.seconds[a][x]
            start = self._start(x, arrival)
            clock = (arrival if start is None else start) + net.service[x]
            a = x
        finish = clock + net.seconds[a][end]
        clock, b = finish, end
        for x in reversed(order):
            clock = self._latest(x, clock - net.seconds[x][b] - net.service[x])
            b = x
        return finish - (clock - net.seconds[net.begin[route]][b])

    def _start(self, x: int, arrival: int) -> int | None:
        net = self.net
        if x in net.windows:
            return next_start(net.windows[x], arrival)
        if arrival > net.closes[x]:
            return None
        return max(arrival, net.opens[x])

    def _latest(self, x: int, time: int) -> int:
        if x in self.net.windows:
            start = latest_start(self.net.windows[x], time)
            return time if start is None else start
        closes = self.net.closes[x]
        return min(closes, time)

    def _link(self, route: int, a: int, b: int) -> None:
        net = self.net
        metres = net.metres[a][b]
        if a < net.size:
            self.after[a] = b
            self.arc_after[a] = metres
        else:
            self.first[route] = b
            self.leave_before[b] = net.ready[route]
        if b < net.size:
            self.before[b] = a
            self.arc_before[b] = metres
        else:
            self.last[route] = a

    def _take(self, route: int, x: int, sign: int) -> None:
        demand = self.net.demand[x]
        self.room[route] -= sign * demand[0]
        more = self.more_room[route]
        for i in range(len(more)):
            more[i] -= sign * demand[i + 1]
        before = self.length[route]
        self.length[route] = before + sign
        if not before or before + sign == 0:
            self._find_idle(self.net.kind[route])

    def _find_idle(self, kind: int) -> None:
        members = self.net.kinds[kind]
        self.idle[kind] = next((r for r in members if not self.length[r]), NOWHERE)

    def _push_forward(self, route: int, x: int) -> None:
        """Earliest times from `x` on; ends where nothing changes any more."""
        net = self.net
        count, seconds, opens, service = net.size, net.seconds, net.opens, net.service
        leave, leave_before, after = self.leave, self.leave_before, self.after
        a = self.before[x]
        clock = leave[a] if a < count else net.ready[route]
        y = x
        while y < count:
            leave_before[y] = clock
            start = clock + seconds[a][y]
            if y in net.windows:
                start = next_start(net.windows[y], start) or start
            elif start < opens[y]:
                start = opens[y]
            clock = start + service[y]
            if leave[y] == clock and y != x:
                return
            leave[y] = clock
            a, y = y, after[y]

    def _push_backward(self, route: int, x: int, *, stop_early: bool = True) -> None:
        """Latest times from `x` back to the begin."""
        net = self.net
        count, seconds, closes, service = net.size, net.seconds, net.closes, net.service
        latest, latest_after, before = self.latest, self.latest_after, self.before
        b = self.after[x]
        time = latest[b] if b < count else net.limit[route]
        y = x
        while y < count:
            latest_after[y] = time
            time -= seconds[y][b] + service[y]
            if y in net.windows:
                time = self._latest(y, time)
            elif time > closes[y]:
                time = closes[y]
            if stop_early and latest[y] == time and y != x:
                return
            latest[y] = time
            b, y = y, before[y]

    def _load(self, route: int, order: Sequence[int]) -> None:
        net = self.net
        a = net.begin[route]
        self.first[route] = self.last[route] = a
        self.room[route] = net.room[route][0]
        self.more_room[route] = list(net.room[route][1:])
        self.length[route] = 0
        for x in order:
            self.where[x] = route
            self._link(route, a, x)
            self._take(route, x, 1)
            a = x
        if order:
            self._link(route, a, net.end[route])
        self._find_idle(net.kind[route])
        self.retime(route)
