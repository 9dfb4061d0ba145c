"""event_clock.py: processes that take turns on one clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator


class Signal:
    """Something that happens once, for processes to wait for."""

    def __init__(self) -> None:
        self.raised = False
        self.waiting: list[Process] = []


Process = Iterator["int | Signal"]  # yields cycles to let pass, or a signal to wait for


class Clock:
    """Runs processes in the order of their cycles."""

    def __init__(self) -> None:
        self.now = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def call(self, delay: int, action: Callable[[], None]) -> None:
        """Do something `delay` cycles from now."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, action))

    def start(self, process: Process) -> None:
        """Let a process begin."""
        self.call(0, lambda: self._advance(process))

    def announce(self, signal: Signal) -> None:
        """Wake what waits for a signal."""
        signal.raised = True
        for process in signal.waiting:
            self.start(process)

    def run(self) -> None:
        """Run until nothing is left to do."""
        while self._queue:
            self.now, _, action = heapq.heappop(self._queue)
            action()

    def _advance(self, process: Process) -> None:
        for wanted in process:
            if isinstance(wanted, Signal):
                if not wanted.raised:
                    wanted.waiting.append(process)
                    return
            elif wanted:
                self.call(wanted, lambda: self._advance(process))
                return
