"""The stop of a process, for those who wait for something else."""

import asyncio

from service_kit.process.stopping import Stopping


async def test_a_sleep_ends_with_a_stop_or_with_news() -> None:
    stopping, news = Stopping(), asyncio.Event()
    asleep = asyncio.create_task(stopping.sleep(3600, news.wait()))
    await asyncio.sleep(0)
    news.set()
    await asyncio.wait_for(asleep, 10)

    asleep = asyncio.create_task(stopping.sleep(3600))
    await asyncio.sleep(0)
    stopping.begin()
    await asyncio.wait_for(asleep, 10)


async def test_a_sleep_leaves_nothing_behind() -> None:
    stopping, news = Stopping(), asyncio.Event()
    before = asyncio.all_tasks()

    await stopping.sleep(0.001, news.wait())
    await stopping.sleep(0, news.wait())
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before
