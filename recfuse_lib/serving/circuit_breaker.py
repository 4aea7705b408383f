"""Calls a database that may hang, and gives up in time. Taught in notebook 18."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

from recfuse_lib.serving.database import StoreUnavailable

THREADS = 4
SECONDS_UNTIL_ASKED_AGAIN = 5.0  # after a failure, requests do not call the database for so long


class CircuitBreaker:
    """Calls the event store without waiting in vain; `failed` is called with every failure.

    A database that hangs blocks the threads that call it. So these are its own, a request waits at most `seconds`, and
    after a failure calls are refused at once, except one every few seconds that tries the store again.
    """

    def __init__(self, seconds: float, failed: Callable[[Exception], None]) -> None:
        self._seconds, self._failed = seconds, failed
        self.threads = concurrent.futures.ThreadPoolExecutor(THREADS)
        self._ask_again_at = 0.0

    async def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns the function's result, or raises StoreUnavailable; a call that timed out may still take effect."""
        if (now := time.monotonic()) < self._ask_again_at:
            raise StoreUnavailable("the event store did not answer a moment ago; send the same again later")
        if self._ask_again_at:
            self._ask_again_at = now + self._seconds  # this call finds out whether it is back, and no other
        running = asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)
        try:
            # Python 3.11's `wait_for` swallows a cancellation that comes with the answer: the service would not end.
            async with asyncio.timeout(self._seconds):
                answer = await running
        except (StoreUnavailable, TimeoutError) as error:
            self._ask_again_at = time.monotonic() + SECONDS_UNTIL_ASKED_AGAIN
            self._failed(error)
            raise StoreUnavailable(str(error) or f"no answer within {self._seconds:g} s") from error
        except Exception:
            self._ask_again_at = 0.0  # it answers, if only that it does not take this
            raise
        self._ask_again_at = 0.0
        return answer
