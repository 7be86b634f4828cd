"""Bounded concurrency and shielded clean-up."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Run something to its end even where the caller is cancelled meanwhile.

    The cancellation is raised after that.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # A failure of the work must not take the place of the stop: whoever handles it goes on.
        await asyncio.gather(task, return_exceptions=True)
        raise


async def finish_within(tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
    """Wait for tasks, and cut those that take longer; what they raise is left to them."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def map_concurrently(
    items: Sequence[S], work: Callable[[S], Awaitable[T]], at_once: int
) -> list[T]:
    """Do it with all items, at most `at_once` at a time. The results are in the items' order."""
    places = asyncio.Semaphore(at_once)

    async def one(item: S) -> T:
        async with places:
            return await work(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
