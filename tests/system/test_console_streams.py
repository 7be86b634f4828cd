"""A process that stops does not wait for who looks at the console."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.system.processes import end, until
from tests.system.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.engine("sqlite")]


@contextmanager
def watching(url: str) -> Iterator[Iterator[str]]:
    """Sign in and open a stream, of which the first line has come."""
    with httpx.Client(base_url=url, timeout=15, trust_env=False) as browser:
        browser.post(
            "/console/sign-in", data={"role": "agent"}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        with browser.stream("GET", "/console/live") as stream:
            assert stream.status_code == 200
            lines = stream.iter_lines()
            assert next(lines).startswith("retry:")
            yield lines


@pytest.mark.timeout(120)
def test_a_stop_ends_streams_at_once(stack: Stack) -> None:
    stack.crm.restart(SEED_DEMO_DATA="true", LOG_LEVEL="DEBUG")

    with watching(stack.crm.url) as first, watching(stack.crm.url) as second:
        until(lambda: any(line == "event: news" for line in first), "it is told how things are")
        assert stack.crm.process is not None
        code = end(stack.crm.process, signal.SIGTERM)
        assert list(second)[-1:] == [""]

    assert code == 0
    log = stack.crm.log.read_text()
    assert "graceful shutdown exceeded" not in log, "uvicorn has waited for them in vain"
    assert "GET /console/live 200" in log
    assert stack.bugs() == []
