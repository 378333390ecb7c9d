"""Several processes on one port, forked from one that has everything loaded.

A worker that dies is replaced in the time its app takes to open the shop, not in that of every
import. Each worker says by a pipe that it lives; one that says nothing for long is killed. Whoever
outlives the process that forked it ends by itself.
"""

import gc
import logging
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from prometheus_client import multiprocess
from uvicorn.config import STARTUP_FAILURE

log = logging.getLogger(__name__)

BEATS_APART: Final = 10  # ticks of a tenth of a second
SILENT_S: Final = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0  # before one is replaced that never served
LOOK_S: Final = 1.0


class Worker(uvicorn.Server):
    """A server that tells its parent that it lives."""

    def __init__(self, config: uvicorn.Config, line: int) -> None:
        super().__init__(config)
        self._line = line

    async def on_tick(self, counter: int) -> bool:
        if counter % BEATS_APART == 0:
            try:
                os.write(self._line, b".")
            except BlockingIOError:
                pass  # the parent is busy
            except OSError:
                self.should_exit = True  # the parent is gone
        return await super().on_tick(counter)


@dataclass
class Life:
    """One worker process, seen by its parent."""

    pid: int
    line: int
    heard: float = field(default_factory=time.monotonic)
    served: bool = False


class Workers:
    """The parent: forks, listens for signs of life, replaces."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, *, grace_s: float) -> None:
        self._config = config
        self._listener = listener
        self._grace_s = grace_s
        self._lives: list[Life] = []
        self._ever_served = False
        self._over = False
        self._renew = False
        self._pause_s = FIRST_PAUSE_S
        self._not_before = 0.0

    def run(self) -> int:
        """Until told to stop. The exit code: not 0 when no worker ever came to serve."""
        gc.collect()
        gc.freeze()  # what is loaded is shared by the workers and never written again
        waking, woken = os.pipe()
        for end in (waking, woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, self._stop)
        signal.signal(signal.SIGHUP, self._again)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        code = 0
        while not self._over and code == 0:
            self._fill()
            self._listen(waking)
            code = self._bury()
            if self._renew:
                self._renew = False
                self._one_after_another(waking)
        self._end()
        return code

    def _stop(self, *_: Any) -> None:
        self._over = True

    def _again(self, *_: Any) -> None:
        self._renew = True

    def _fill(self) -> None:
        while len(self._lives) < self._config.workers and time.monotonic() >= self._not_before:
            self._lives.append(self._born())

    def _born(self) -> Life:
        line, ours = os.pipe()
        os.set_blocking(line, False)
        os.set_blocking(ours, False)
        pid = os.fork()
        if pid == 0:
            self._live(line, ours)
        os.close(ours)
        return Life(pid, line)

    def _live(self, line: int, ours: int) -> None:
        """The child's whole life."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for kind in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(kind, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for other in (line, *(life.line for life in self._lives)):
                os.close(other)  # or a sibling would not learn that the parent is gone
            Worker(self._config, ours).run(sockets=[self._listener])
            code = 0
        except KeyboardInterrupt:
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            log.exception("a worker broke")
        finally:
            os._exit(code)  # nothing of the parent's is cleaned up by a child

    def _listen(self, waking: int, wait_s: float = LOOK_S) -> None:
        lines = {life.line: life for life in self._lives}
        ready, _, _ = select.select([waking, *lines], [], [], wait_s)
        for line in ready:
            with suppress(BlockingIOError):
                said = os.read(line, 4_096)
                if said and line in lines:
                    lines[line].heard = time.monotonic()
                    lines[line].served = self._ever_served = True
                    self._pause_s = FIRST_PAUSE_S

    def _bury(self) -> int:
        """Take away who is dead, and end who says nothing. STARTUP_FAILURE when that is all."""
        for life in list(self._lives):
            if time.monotonic() - life.heard > SILENT_S:
                log.error("worker %s says nothing: it is killed", life.pid)
                os.kill(life.pid, signal.SIGKILL)
            ended, status = os.waitpid(life.pid, os.WNOHANG)
            if not ended:
                continue
            self._gone(life)
            code = os.waitstatus_to_exitcode(status)
            if code not in (0, -signal.SIGTERM):
                log.warning("worker %s ended with %s", life.pid, code)
            if not life.served:
                if code == STARTUP_FAILURE and not self._ever_served:
                    return STARTUP_FAILURE
                self._not_before = time.monotonic() + self._pause_s
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return 0

    def _gone(self, life: Life) -> None:
        self._lives.remove(life)
        os.close(life.line)
        multiprocess.mark_process_dead(life.pid)  # type: ignore[no-untyped-call]

    def _one_after_another(self, waking: int) -> None:
        """New workers, each before an old one goes: policy and issuers are read anew."""
        for old in list(self._lives):
            new = self._born()
            self._lives.append(new)
            until = time.monotonic() + SILENT_S
            while not new.served and time.monotonic() < until and not self._over:
                self._listen(waking)
                self._bury()
                if new not in self._lives:
                    log.error("a new worker does not start: the old ones go on")
                    return
            if old in self._lives and new.served:
                os.kill(old.pid, signal.SIGTERM)
                while old in self._lives:
                    self._listen(waking)
                    self._bury()

    def _end(self) -> None:
        for life in self._lives:
            os.kill(life.pid, signal.SIGTERM)
        until = time.monotonic() + self._grace_s
        while self._lives and time.monotonic() < until:
            self._bury()
            time.sleep(0.05)
        for life in list(self._lives):
            os.kill(life.pid, signal.SIGKILL)
            os.waitpid(life.pid, 0)
            self._gone(life)
