"""``python -m tests.faults.served '{"seed": 1, …}'``: the servers, with something wrong in them.

========  ==============================================================================
failing   share of the steps of a commit that break, before or after they did their work
clock     seconds the wall clock jumps by, to and fro, every second or so
plant     a bug of ``tests.faults.planted``, which the harness must find
========  ==============================================================================
"""

import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from random import Random
from typing import Any

import time_machine
from sqlalchemy.exc import OperationalError

from servers.run import main
from tests.faults import planted
from tests.faults.steps import FAILPOINT, STEPS


def failing(random: Random, share: float) -> None:
    """Each step of each commit raises, loses a race or dies, now and then."""

    def breakable(right: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(right)
        def step(*args: Any, **named: Any) -> Any:
            if random.random() >= share:
                return right(*args, **named)
            how = random.choice(("raises", "raises", "lost race", "dies"))
            if random.random() < 0.5 and how != "lost race":
                right(*args, **named)
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "lost race":
                raise OperationalError("", {}, sqlite3.OperationalError("database is locked"))
            raise RuntimeError(FAILPOINT)

        return step

    for place, name in STEPS.values():
        setattr(place, name, breakable(getattr(place, name)))


def jumping(random: Random, seconds: float) -> None:
    """The wall clock of this process is never right for long."""

    def jump() -> None:
        while True:
            time.sleep(random.uniform(0.3, 1.5))
            coordinates.move_to(actual() + random.uniform(-seconds, seconds))

    actual = time_machine.escape_hatch.time.time
    travel = time_machine.travel(time.time(), tick=True)
    coordinates = travel.start()
    threading.Thread(target=jump, daemon=True).start()


def run(said: dict[str, Any]) -> int:
    """As ``python -m servers --http``. What is wrong differs from worker to worker."""
    random = Random()

    def begin() -> None:
        random.seed(f"{said['seed']}:{os.getpid()}")
        if said.get("clock"):
            jumping(random, float(said["clock"]))

    if said.get("workers", 1) > 1:
        os.register_at_fork(after_in_child=begin)
    else:
        begin()
    if said.get("clock"):  # which of its reasons a sealed state was refused for
        logging.getLogger("mcp.server.request_state").setLevel(logging.WARNING)
    if said.get("failing"):
        failing(random, float(said["failing"]))
    if said.get("plant"):
        planted.BUGS[said["plant"]](random)
    return main(["--http"])


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
