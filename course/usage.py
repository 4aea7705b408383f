"""What a program costs with all that it starts: processor seconds, wall seconds and peak memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

CONTROL_GROUPS = Path("/sys/fs/cgroup")
SECONDS_BETWEEN_SAMPLES = 0.1


@dataclass
class Usage:
    """What was used while a block ran.

    Attributes:
        processor_seconds: User and system seconds of every process that the block started, directly or not.
        seconds: Wall seconds.
        peak_memory_mb: Largest resident memory of these processes together, sampled ten times a second.
    """

    processor_seconds: float = 0.0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure the processes that start inside the block.

    Where this process may make a control group (root on Linux, as a rule) their processor seconds are the group's, to
    which every descendant belongs. Elsewhere they are summed over the tree of processes, which misses a process that
    leaves the tree.

    Yields:
        The usage; it is complete when the block ends.
    """
    usage, done, begun = Usage(), threading.Event(), time.perf_counter()
    sampler = threading.Thread(target=_sample_memory, args=(usage, done), daemon=True)
    group = _ControlGroup.new()
    before = tree_processor_seconds()
    sampler.start()
    try:
        if group:
            group.enter()
        yield usage
    finally:
        done.set()
        sampler.join()
        usage.seconds = time.perf_counter() - begun
        usage.processor_seconds = group.leave() if group else tree_processor_seconds() - before


def tree_processor_seconds() -> float:
    """Return user and system seconds of this process and all its descendants, those that ended included."""
    this, total = psutil.Process(), 0.0
    for process in [this, *this.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _sample_memory(usage: Usage, done: threading.Event) -> None:
    this = psutil.Process()
    while not done.wait(SECONDS_BETWEEN_SAMPLES):
        used = 0
        for child in this.children(recursive=True):
            with suppress(psutil.Error):
                used += child.memory_info().rss
        usage.peak_memory_mb = max(usage.peak_memory_mb, used / 1e6)


class _ControlGroup:
    """A control group of Linux (version 1 or 2) inside the one that this process belongs to."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder, self.version = folder, version

    @classmethod
    def new(cls) -> _ControlGroup | None:
        """Make one, or return None where that is not allowed or not there."""
        with suppress(OSError):
            for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
                _, controllers, path = line.split(":", 2)
                if "cpuacct" in controllers.split(","):
                    parent, version = CONTROL_GROUPS / "cpuacct" / path.lstrip("/"), 1
                elif not controllers and (CONTROL_GROUPS / "cgroup.controllers").exists():
                    parent, version = CONTROL_GROUPS / path.lstrip("/"), 2
                else:
                    continue
                folder = parent / f"recfuse-{os.getpid()}-{time.monotonic_ns()}"
                folder.mkdir()
                return cls(folder, version)
        return None

    def enter(self) -> None:
        """Move this process into the group, so that what it starts belongs to it."""
        self._before = self._own_seconds()
        _move(self.folder)

    def leave(self) -> float:
        """Move this process back and return the seconds that the group used, less this process's own."""
        total = self._total() - (self._own_seconds() - self._before)
        _move(self.folder.parent)
        with suppress(OSError):  # a server that outlives its notebook keeps the group alive
            self.folder.rmdir()
        return max(total, 0.0)

    def _total(self) -> float:
        if self.version == 1:
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        fields = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(fields["usage_usec"]) / 1e6

    def _own_seconds(self) -> float:
        times = os.times()
        return times.user + times.system


def _move(folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(os.getpid()))
