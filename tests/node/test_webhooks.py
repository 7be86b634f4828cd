"""Signatures are verified by the standard's own library for JavaScript, in a receiver in Node."""

import base64
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crm_api.published.schemas import EVENTS, example_of
from integration_service.targets import webhook as sending
from integration_service.targets.failures import NotAccepted
from integration_service.targets.webhook import Webhook


def secret(text: str) -> str:
    return "whsec_" + base64.b64encode(text.encode()).decode()


SECRET, NEXT = (
    secret("a secret of these tests, 32 long"),
    secret("and the one that follows it, 32."),
)


class Receiver:
    """A receiver in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self._line())}/hooks/crm"

    def verified(self) -> dict[str, Any]:
        """Return the next event that it has verified."""
        event: dict[str, Any] = json.loads(self._line())
        return event

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@pytest.fixture
def receiver(node: Callable[[str], list[str]]) -> Iterator[Receiver]:
    receiver = Receiver([*node("webhooks.mjs"), SECRET])
    yield receiver
    receiver.process.kill()
    receiver.process.communicate()


@asynccontextmanager
async def sending_to(receiver: Receiver, *secrets: str) -> AsyncIterator[Webhook]:
    webhook = Webhook("web-shop", receiver.url, secrets, allow_private=True, ca_file=None)
    yield webhook
    await webhook.close()


async def test_every_event_is_verified_as_it_was_sent(receiver: Receiver) -> None:
    async with sending_to(receiver, SECRET) as webhook:
        for event in EVENTS:
            sent = example_of(event)
            sent["data"]["note"] = "Jörg 🎁 \u2028 </script>"
            assert (await webhook.send(sent)).status == 204
            assert receiver.verified() == sent | {"sequence": f"{sent['sequence']:019}"}


async def test_while_a_secret_is_rotated_the_old_one_verifies(receiver: Receiver) -> None:
    async with sending_to(receiver, NEXT, SECRET) as webhook:
        assert (await webhook.send(example_of(EVENTS[0]))).status == 204


async def test_another_secret_is_refused(receiver: Receiver) -> None:
    async with sending_to(receiver, NEXT) as webhook:
        with pytest.raises(NotAccepted, match="it answered 401"):
            await webhook.send(example_of(EVENTS[0]))


@pytest.mark.parametrize("seconds", [-400, 400])
async def test_an_old_signature_is_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    now = time.time()
    monkeypatch.setattr(sending.time, "time", lambda: now + seconds)
    async with sending_to(receiver, SECRET) as webhook:
        with pytest.raises(NotAccepted, match="it answered 401"):
            await webhook.send(example_of(EVENTS[0]))
