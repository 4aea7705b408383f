"""Execute one notebook in a kernel of its own, and say how a kernel died."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

CELL_TIMEOUT_SECONDS = 900
SECONDS_BETWEEN_REPORTS = 10


class NotebookError(RuntimeError):
    """A notebook did not run to its end; the message says what happened and in which cell."""


class Stopped(Exception):
    """A signal asked to stop; the kernel is gone."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def execute(notebook: Any, folder: Path, *, timeout: int = CELL_TIMEOUT_SECONDS) -> None:
    """Execute a notebook in a fresh kernel of this very Python, whatever kernels the machine has.

    No time stamp is written into the cells' metadata, so that a commit holds what a run gives. The kernel and all that
    it started are gone when this returns, however it ends.

    Args:
        notebook: A notebook of nbformat; its outputs are replaced.
        folder: The kernel's working directory.
        timeout: Seconds that a cell may take.

    Raises:
        NotebookError: If a cell fails or takes too long, or the kernel dies; the notebook holds the outputs so far.
        Stopped: If SIGINT or SIGTERM arrives.
    """
    client = _Client(notebook, folder, timeout)
    asyncio.run(_run(client))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


async def _run(client: _Client) -> None:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(client.async_execute())
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await work
    except (Exception, asyncio.CancelledError) as error:
        if received:
            raise Stopped(received[0]) from None
        if client.death is not None:
            loop.set_exception_handler(lambda *_: None)  # tasks that still waited for the dead kernel
            raise NotebookError(f"the kernel {client.death}\n      {client.where()}") from None
        if isinstance(error, CellExecutionError):
            raise NotebookError(f"{error.ename}: {error.evalue}\n      {client.where()}") from None
        if isinstance(error, CellTimeoutError):
            raise NotebookError(f"the cell took more than {client.timeout} s\n      {client.where()}") from None
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class _ThisPython(KernelSpecManager):
    def get_kernel_spec(self, kernel_name: str) -> Any:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())  # type: ignore[no-untyped-call]


class _Client(NotebookClient):
    """A client whose kernel is killed at the end, with its children, and whose death is described.

    Attributes:
        death: How the kernel ended, when it ended by itself.
    """

    death: str | None = None

    def __init__(self, notebook: Any, folder: Path, timeout: int) -> None:
        super().__init__(
            notebook,
            km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython()),
            resources={"metadata": {"path": str(folder)}},
            timeout=timeout,
            extra_arguments=["--log-level=ERROR"],
            record_timing=False,
            coalesce_streams=True,
            on_cell_start=self._starts,
        )
        self.log.setLevel(logging.CRITICAL)  # what it would log is in the error
        self._cell, self._reported = 0, time.perf_counter()

    @asynccontextmanager
    async def async_setup_kernel(self, **kwargs: Any) -> AsyncIterator[None]:
        """Start the kernel; kill it, with its process group, when the block ends."""
        await self.async_start_new_kernel(**kwargs)
        try:
            await self.async_start_new_kernel_client()
            yield
        finally:
            process = self.km.provisioner.process
            status = None if process is None else process.poll()
            if status is not None:
                self.death = _how(status)
            self.kc.stop_channels()
            await self.km.shutdown_kernel(now=True)
            await self.km.cleanup_resources()

    def where(self) -> str:
        """Name the cell that ran last."""
        lines = self.nb.cells[self._cell].source.splitlines() if self.nb.cells else []
        first = next((line.strip() for line in lines if line.strip()), "")
        return f"in cell {self._cell + 1}, which begins {first[:80]!r}"

    def _starts(self, cell: Any, cell_index: int) -> None:
        self._cell = cell_index
        if time.perf_counter() - self._reported > SECONDS_BETWEEN_REPORTS:
            self._reported = time.perf_counter()
            print(f"      cell {cell_index + 1} of {len(self.nb.cells)}", flush=True)


def _how(status: int) -> str:
    if status >= 0:
        return f"ended by itself with status {status}"
    name = signal.Signals(-status).name
    reason = "; as a rule the system ran out of memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{reason}"
