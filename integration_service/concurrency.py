"""Things done side by side, and things done in any case."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def in_any_case(work: Coroutine[Any, Any, T]) -> T:
    """Do something to its end, though a stop comes in the middle of it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # A failure of the work must not take the place of the stop: whoever handles it goes on.
        await asyncio.gather(task, return_exceptions=True)
        raise


async def each_of(items: Sequence[S], work: Callable[[S], Awaitable[T]], at_once: int) -> list[T]:
    """Do it with all items, a few at a time; the order of the results is theirs."""
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
