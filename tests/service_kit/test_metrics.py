"""What one process counts by itself is told as Prometheus' library would tell it."""

import asyncio
import random
import time

import pytest
from prometheus_client import CollectorRegistry, Histogram, Metric, generate_latest

from service_kit.process import metrics
from service_kit.process.metrics import BUCKETS, Metrics

SERIES = [("GET", "/boxes", 200), ("GET", "/boxes", 404), ("other", 'un"matched\\\n', 0)]
TIMES = [0.0, *BUCKETS, *(bound * 1.01 for bound in BUCKETS), 3600.0]


async def test_the_text_is_that_of_the_librarys_own_histogram(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.25)  # when each series began
    registry = CollectorRegistry()
    theirs = Histogram(
        "http_request_duration_seconds",
        "Time from a request's head to the end of its answer.",
        ("method", "route", "status"),
        buckets=BUCKETS,
        registry=registry,
    )
    ours = Metrics()

    assert (await ours.exposition())[0] == generate_latest(registry)
    for series in SERIES:
        for seconds in random.Random(7).sample(TIMES, len(TIMES)):
            ours.observe(*series, seconds)
            theirs.labels(*series).observe(seconds)
    assert (await ours.exposition())[0] == generate_latest(registry)


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
