"""Bounded concurrency and shielded clean-up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
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
