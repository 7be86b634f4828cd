"""What Prometheus is told of one process."""

import asyncio
import time

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from service_kit.process import metrics
from service_kit.process.metrics import Metrics


async def test_what_is_read_at_a_scrape_stands_behind_what_was_counted() -> None:
    ours = Metrics()

    async def read() -> list[Metric]:
        return [GaugeMetricFamily("boxes_kept", "How many boxes there are.", 7)]

    ours.add_shared(read)
    ours.observe("GET", "/boxes", 200, 0.02)

    text = (await ours.exposition())[0].decode()
    series = 'method="GET",route="/boxes",status="200"'
    assert f'http_request_duration_seconds_bucket{{le="0.01",{series}}} 0.0' in text
    assert f'http_request_duration_seconds_bucket{{le="0.025",{series}}} 1.0' in text
    assert f"http_request_duration_seconds_sum{{{series}}} 0.02" in text
    assert text.endswith("# TYPE boxes_kept gauge\nboxes_kept 7.0\n")


async def test_metrics_are_written_once_a_second_for_all_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(metrics, "SHARED_SECONDS", 1.0)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ours = Metrics()
    written = 0

    async def read() -> list[Metric]:
        nonlocal written
        written += 1
        await asyncio.sleep(0)
        return []

    ours.add_shared(read)
    hasty = asyncio.create_task(ours.exposition())
    await asyncio.sleep(0)
    hasty.cancel()  # who goes away takes it from nobody

    texts = await asyncio.gather(*(ours.exposition() for _ in range(50)))
    ours.observe("GET", "/boxes", 200, 0.1)
    now += 0.9
    texts.append(await ours.exposition())

    assert (len({text for text, _ in texts}), written) == (1, 1)
    now += 0.1
    assert b"/boxes" in (await ours.exposition())[0]
    assert written == 2


async def test_metrics_that_take_longer_are_still_written_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(metrics, "SHARED_SECONDS", 1.0)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ours = Metrics()
    written = 0
    has_come = asyncio.Event()

    async def read() -> list[Metric]:
        nonlocal written
        written += 1
        await has_come.wait()
        return []

    ours.add_shared(read)
    asking = []
    for _ in range(5):
        asking.append(asyncio.create_task(ours.exposition()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now += 10
    has_come.set()

    assert len({text for text, _ in await asyncio.gather(*asking)}) == 1
    assert written == 1
    await ours.exposition()
    assert written == 2
