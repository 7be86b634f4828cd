"""Webhooks to a receiver on a real port: what it is sent, and what each of its answers means."""

import asyncio
import base64
import json
import re
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import trustme
import uvloop
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from integration_service.targets import posting
from integration_service.targets.failures import (
    CallFailed,
    Gone,
    Misconfigured,
    NotAccepted,
    Timeout,
    Transient,
    Untrusted,
)
from integration_service.targets.store import count_failure
from integration_service.targets.target import Made
from integration_service.targets.webhook import Webhook, webhook_id
from service_kit import VERSION
from service_kit.process import tracing
from service_kit.process.logs import use_request_id
from tests.integration_service.conftest import Log
from tests.integration_service.targets.receiver import (
    Behaviour,
    Received,
    Receiver,
    answering,
    dripping,
    endless,
    hang_up,
    reset,
    say_nothing,
)

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's, 32 bytes").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"/" * 24).decode()
EVENT_ID = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": EVENT_ID,
    "source": "/crm",
    "type": "customer.created",
    "subject": "019a5d3c-0000-7cc0-9b0e-5d1c2f3a4b5c",
    "time": "2026-01-05T12:00:00.123456Z",
    "sequence": 41,
    "datacontenttype": "application/json",
    "data": {"name": "Jörg Müller", "email": "joerg@example.com", "tags": ["early adopter"]},
}

Make = Callable[..., Webhook]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make webhooks that may go to loopback addresses, and close them."""
    made: list[Webhook] = []

    def make(url: str, *secrets: str, **options: Any) -> Webhook:
        given = {"allow_private": True, "ca_file": None, **options}
        made.append(Webhook("web-shop", url, secrets or [SECRET], **given))
        return made[-1]

    yield make
    for webhook in made:
        await webhook.close()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def webhook(make: Make, receiver: Receiver) -> AsyncIterator[Webhook]:
    async with receiver.running() as port:
        yield make(f"http://127.0.0.1:{port}/hooks/crm?key=value")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What each name resolves to, one list at each lookup; the last one stays."""
    known: dict[str, list[list[str]]] = {}

    def look_up(host: str, *_args: object, **_kwargs: object) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (one, 0)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


async def failure_of(webhook: Webhook, *, once: bool = True) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await webhook.send(EVENT, once=once)
    return failed.value


def detail_of(failure: CallFailed) -> str:
    assert failure.problem is not None
    return failure.problem["detail"]


# What is sent


async def test_an_event_is_sent_as_a_cloud_event(webhook: Webhook, receiver: Receiver) -> None:
    made = await webhook.send(EVENT)

    [received] = receiver.received
    assert made == Made(204, webhook_id("web-shop", EVENT_ID))
    assert received.target == "/hooks/crm?key=value"
    assert received.headers["content-type"] == "application/cloudevents+json"
    assert received.headers["user-agent"] == f"crmsys/{VERSION}"
    event = from_structured(HTTPMessage(received.headers, received.body), JSONFormat())
    assert event.get_id() == EVENT_ID
    assert event.get_type() == "customer.created"
    assert event.get_source() == "/crm"
    assert event.get_subject() == EVENT["subject"]
    assert event.get_time().isoformat() == "2026-01-05T12:00:00.123456+00:00"
    assert event.get_data() == EVENT["data"]
    assert event.get_extension("sequence") == "0000000000000000041"


@pytest.mark.parametrize(
    ("earlier", "later"), [(9, 10), (2**31, 2**31 + 1), (9 * 10**17, 10**18), (1, 2**63 - 1)]
)
async def test_sequences_sort_as_texts_do(
    webhook: Webhook, receiver: Receiver, earlier: int, later: int
) -> None:
    for sequence in (earlier, later):
        await webhook.send({**EVENT, "sequence": sequence})

    first, second = (json.loads(one.body)["sequence"] for one in receiver.received)
    assert first < second
    assert (int(first), int(second)) == (earlier, later)


async def test_the_receiver_can_verify_it(webhook: Webhook, receiver: Receiver) -> None:
    await webhook.send(EVENT)

    [received] = receiver.received
    verified = standardwebhooks.Webhook(SECRET).verify(received.body, received.headers)
    assert verified["id"] == EVENT_ID
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(OLD_SECRET).verify(received.body, received.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(received.body + b" ", received.headers)


async def test_while_secrets_are_rotated_either_verifies_it(make: Make, receiver: Receiver) -> None:
    async with receiver.running() as port:
        await make(f"http://127.0.0.1:{port}/", SECRET, OLD_SECRET).send(EVENT)

    [received] = receiver.received
    for secret in (SECRET, OLD_SECRET):
        standardwebhooks.Webhook(secret).verify(received.body, received.headers)
    newest = standardwebhooks.Webhook(SECRET)
    alone = {**received.headers, "webhook-signature": signatures_of(received)[0]}
    newest.verify(received.body, alone)


def signatures_of(received: Received) -> list[str]:
    return received.headers["webhook-signature"].split(" ")


def test_an_id_is_the_same_at_every_try_and_another_for_each_route() -> None:
    # Written down: whoever changes it has every receiver take old events for new ones.
    assert webhook_id("web-shop", EVENT_ID) == "32bf3e92-8755-53d1-bbb3-50938f508584"
    assert uuid.UUID(webhook_id("web-shop", EVENT_ID))
    assert webhook_id("web-shop-2", EVENT_ID) != webhook_id("web-shop", EVENT_ID)
    assert webhook_id("web-shop", "another") != webhook_id("web-shop", EVENT_ID)


async def test_each_try_has_the_same_id_and_a_time_and_signature_of_its_own(
    webhook: Webhook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.next_answers(hang_up)
    now = time.time()
    times = iter([now, now + 60])
    monkeypatch.setattr("integration_service.targets.webhook.time.time", lambda: next(times))

    made = await webhook.send(EVENT)

    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == made.request_id
    assert first.headers["x-request-id"] == second.headers["x-request-id"]
    stamps = [int(one.headers["webhook-timestamp"]) for one in receiver.received]
    assert stamps == [int(now), int(now + 60)]
    for received in receiver.received:
        standardwebhooks.Webhook(SECRET).verify(received.body, received.headers)


async def test_it_is_part_of_what_is_traced(
    webhook: Webhook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_tracer", TracerProvider().get_tracer("test"))
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    use_request_id("of-this-delivery")

    await webhook.send({**EVENT, "traceparent": traceparent})

    [received] = receiver.received
    assert received.headers["x-request-id"] == "of-this-delivery"
    sent = received.headers["traceparent"]
    assert sent.split("-")[1] == traceparent.split("-")[1]
    assert sent != traceparent
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_what_is_not_traced_names_no_span(webhook: Webhook, receiver: Receiver) -> None:
    await webhook.send(EVENT)

    assert "traceparent" not in receiver.received[0].headers


async def test_no_cookie_is_kept(webhook: Webhook, receiver: Receiver) -> None:
    receiver.next_answers(answering(200, "Set-Cookie: session=1"))

    await webhook.send(EVENT)
    await webhook.send(EVENT)

    assert "cookie" not in receiver.received[1].headers


# What an answer means


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_success(webhook: Webhook, receiver: Receiver, status: int) -> None:
    receiver.next_answers(answering(status))

    assert (await webhook.send(EVENT)).status == status


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://127.0.0.1:1/?token=hunter2", "http://[", ""])
async def test_a_redirect_is_not_followed(
    webhook: Webhook, receiver: Receiver, status: int, location: str
) -> None:
    receiver.next_answers(answering(status, f"Location: {location}"))

    failure = await failure_of(webhook, once=False)

    assert type(failure) is Misconfigured
    assert failure.error == f"it answered {status}; redirects are not followed"
    assert len(receiver.received) == 1


async def test_410_says_that_it_wants_no_more(webhook: Webhook, receiver: Receiver) -> None:
    receiver.next_answers(answering(410, body="This shop is closed."))

    failure = await failure_of(webhook, once=False)

    assert type(failure) is Gone
    assert isinstance(failure, Misconfigured)
    assert failure.error_class == "gone"
    assert detail_of(failure) == "This shop is closed."


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422, 451, 499])
async def test_a_refusal_is_a_matter_of_this_event_until_others_fail_too(
    webhook: Webhook, receiver: Receiver, status: int
) -> None:
    receiver.next_answers(answering(status, body="No."))

    failure = await failure_of(webhook, once=False)

    assert type(failure) is NotAccepted
    assert (failure.status, failure.error) == (status, f"it answered {status}")
    assert detail_of(failure) == "No."


async def test_the_problem_document_of_a_stranger_is_no_word_of_ours(
    webhook: Webhook, receiver: Receiver
) -> None:
    problem = {"type": "urn:problem:customer-erased", "status": 410, "customer_id": "1"}
    kind = "Content-Type: application/problem+json"
    receiver.next_answers(answering(422, kind, body=json.dumps(problem | {"status": 422})))

    failure = await failure_of(webhook)

    assert type(failure) is NotAccepted
    assert failure.problem is not None
    assert failure.problem["type"] == "about:blank"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
async def test_what_time_may_heal_is_tried_again(
    webhook: Webhook, receiver: Receiver, status: int
) -> None:
    receiver.next_answers(answering(status))

    failure = await failure_of(webhook)

    assert type(failure) is Transient
    assert failure.status == status
    assert failure.problem is None


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (429, "30", 30.0),
        (503, "120", 120.0),
        (400, "7", 7.0),
        (503, "999999999999", 3600.0),
        (429, "soon", 0.0),
        (503, "Mon, 05 Jan 2026 12:01:00 GMT", 60.0),
    ],
)
async def test_retry_after_is_honoured(
    webhook: Webhook, receiver: Receiver, status: int, retry_after: str, seconds: float
) -> None:
    date = "Date: Mon, 05 Jan 2026 12:00:00 GMT"
    receiver.next_answers(answering(status, f"Retry-After: {retry_after}", date))

    assert (await failure_of(webhook)).retry_after == seconds


async def test_after_a_503_with_retry_after_it_is_not_tried_again_at_once(
    webhook: Webhook, receiver: Receiver
) -> None:
    receiver.next_answers(answering(503, "Retry-After: 1"))

    await failure_of(webhook, once=False)

    assert len(receiver.received) == 1


@pytest.mark.parametrize("behaviour", [hang_up, reset, answering(502), answering(503)])
async def test_after_a_blip_it_is_tried_again_at_once(
    webhook: Webhook, receiver: Receiver, behaviour: Behaviour
) -> None:
    receiver.next_answers(behaviour, behaviour)

    assert (await webhook.send(EVENT)).status == 204
    assert len(receiver.received) == 3


async def test_a_probe_is_tried_once(webhook: Webhook, receiver: Receiver) -> None:
    receiver.next_answers(hang_up)

    assert type(await failure_of(webhook, once=True)) is Transient
    assert len(receiver.received) == 1


@pytest.mark.parametrize("behaviour", [say_nothing, dripping(200), dripping(500)])
async def test_what_comes_to_no_end_is_cut_at_the_deadline(
    webhook: Webhook, receiver: Receiver, behaviour: Behaviour
) -> None:
    receiver.next_answers(behaviour)
    webhook._seconds = 0.5

    async with asyncio.timeout(30):
        failure = await failure_of(webhook, once=False)

    assert type(failure) is Timeout
    assert failure.error == "no whole answer within 0.5 s"
    assert len(receiver.received) == 1


async def test_a_lookup_that_takes_too_long_is_cut_at_the_deadline(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up_for_ever(*_args: object, **_kwargs: object) -> None:
        await asyncio.Event().wait()

    webhook = make("http://shop.test/")
    webhook._seconds = 0.1
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up_for_ever)

    async with asyncio.timeout(30):
        assert type(await failure_of(webhook)) is Timeout


def test_it_works_on_the_loop_that_services_run_on(receiver: Receiver) -> None:
    async def send() -> Made:
        async with receiver.running() as port:
            options: dict[str, Any] = {"allow_private": True, "ca_file": None}
            webhook = Webhook("web-shop", f"http://localhost:{port}/", [SECRET], **options)
            try:
                return await webhook.send(EVENT)
            finally:
                await webhook.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(send()).status == 204
    assert len(receiver.received) == 1


async def test_a_port_where_nobody_listens_is_tried_again(make: Make) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        webhook = make(f"http://127.0.0.1:{closed.getsockname()[1]}/hooks/T0123456789abc")

        failure = await failure_of(webhook)

    assert type(failure) is Transient
    assert failure.error.startswith("no connection: ")
    assert "T0123456789abc" not in failure.error


async def test_who_accepts_no_connection_is_waited_for_a_short_while(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "CONNECT_SECONDS", 0.3)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        webhook = make(f"http://127.0.0.1:{full.getsockname()[1]}/hooks/T0123456789abc")

        async with asyncio.timeout(30):
            failure = await failure_of(webhook, once=False)

    assert type(failure) is Timeout
    assert failure.error == "no connection within 0.3 s"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "it hung up in the middle"),
        (b"HTTP/1.1 200 OK\r\n", "it hung up in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "it hung up in the middle"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "its answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "its answer is not HTTP"),
    ],
)
async def test_what_is_no_whole_answer_is_tried_again(
    make: Make, receiver: Receiver, written: bytes, said: str
) -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(written)

    receiver.next_answers(write)
    async with receiver.running() as port:
        failure = await failure_of(make(f"http://127.0.0.1:{port}/hooks/T0123456789abc"))

    assert type(failure) is Transient
    assert failure.error == said


async def test_an_answer_may_have_long_headers(webhook: Webhook, receiver: Receiver) -> None:
    receiver.next_answers(answering(201, f"Content-Security-Policy: {'x' * 20_000}"))

    assert (await webhook.send(EVENT)).status == 201


async def test_who_speaks_no_tls_is_a_matter_of_configuration(make: Make) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failure = await failure_of(make(f"https://127.0.0.1:{port}/hooks/T0123456789abc"))

    assert type(failure) is Misconfigured
    assert failure.error.startswith("TLS failed: ")
    assert "T0123456789abc" not in failure.error


async def test_a_connection_is_kept_for_as_long_as_the_receiver_keeps_it(make: Make) -> None:
    taken: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take two requests, and hang up."""
        taken.append(0)
        with suppress(asyncio.IncompleteReadError):
            while taken[-1] < 2:
                head = await reader.readuntil(b"\r\n\r\n")
                [length] = re.findall(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                taken[-1] += 1
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(30):
        webhook = make(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        for _ in range(3):
            await webhook.send(EVENT)

    assert taken == [2, 1]


# What is kept of an answer


@pytest.mark.parametrize("status", [200, 500])
async def test_of_an_endless_answer_only_the_beginning_is_read(
    webhook: Webhook, receiver: Receiver, status: int
) -> None:
    written: list[int] = []
    receiver.next_answers(endless(status, written))

    async with asyncio.timeout(30):
        if status == 200:
            assert (await webhook.send(EVENT)).status == 200
        else:
            assert detail_of(await failure_of(webhook)) == "x" * 1024
    # The kernel's buffers take more than is read; without end it would be far more.
    assert sum(written) < 32 * 1024 * 1024


async def test_the_answer_is_read_to_its_end_up_to_64_kib(
    webhook: Webhook, receiver: Receiver
) -> None:
    """Of white space at its beginning nothing is kept, so what is behind it shows how far."""
    receiver.next_answers(
        answering(500, body=" " * (64 * 1024 - 4) + "seen"),
        answering(500, body=" " * (64 * 1024 - 3) + "seen"),
    )

    assert detail_of(await failure_of(webhook)) == "seen"
    assert detail_of(await failure_of(webhook)) == "see"


async def test_an_answer_keeps_no_secret_and_no_data_of_the_event(
    make: Make, receiver: Receiver
) -> None:
    async with receiver.running() as port:
        webhook = make(f"http://127.0.0.1:{port}/hooks/T0123456789abc", SECRET)
        receiver.next_answers(echo(receiver))

        failure = await failure_of(webhook)

    kept = json.dumps(failure.problem, ensure_ascii=False) + failure.error
    assert "the end" in kept
    for gone in (
        SECRET,
        SECRET.removeprefix("whsec_"),
        "T0123456789abc",
        "Jörg",
        "J\\u00f6rg",
        "joerg",
        "early",
    ):
        assert gone not in kept
    for signature in signatures_of(receiver.received[0]):
        assert signature not in kept


def echo(receiver: Receiver) -> Behaviour:
    """Answer as a page for developers does, which shows the request and its own settings."""

    async def answer(writer: Any) -> None:
        received = receiver.received[-1]
        shown = {**received.headers, "body": received.body.decode()}
        lines = [f"{name}: {value}" for name, value in shown.items()]
        page = "\n".join([received.target, f"SECRET={SECRET}", *lines, "the end"])
        await answering(500, body=page)(writer)

    return answer


# Where it goes


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def tls_for(authority: trustme.CA) -> Callable[[str], ssl.SSLContext]:
    def tls_for(name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        return context

    return tls_for


Tls = Callable[[str], ssl.SSLContext]
Names = dict[str, list[list[str]]]


@pytest.mark.parametrize("start", ["https://shop.test", "HTTPS://SHOP.TEST"])
async def test_behind_tls_the_name_is_asked_for_and_verified(
    make: Make, receiver: Receiver, names: Names, ca_file: Path, tls_for: Tls, start: str
) -> None:
    names["shop.test"] = [["127.0.0.1"]]
    context = tls_for("shop.test")
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with receiver.running(context) as port:
        made = await make(f"{start}:{port}/", ca_file=ca_file).send(EVENT)

    assert made.status == 204
    assert asked == ["shop.test"]
    assert receiver.received[0].headers["host"] == f"shop.test:{port}"


async def test_the_dot_that_ends_a_name_is_the_resolvers_alone(
    make: Make, receiver: Receiver, names: Names, ca_file: Path, tls_for: Tls
) -> None:
    names["shop.test."] = [["127.0.0.1"]]
    async with receiver.running(tls_for("shop.test")) as port:
        await make(f"https://shop.test.:{port}/", ca_file=ca_file).send(EVENT)

    assert receiver.received[0].headers["host"] == f"shop.test:{port}"


async def test_behind_tls_an_address_is_verified_too(
    make: Make, receiver: Receiver, ca_file: Path, tls_for: Tls
) -> None:
    async with receiver.running(tls_for("127.0.0.1")) as port:
        made = await make(f"https://127.0.0.1:{port}/", ca_file=ca_file).send(EVENT)

    assert made.status == 204


@pytest.mark.parametrize(("name", "trusted"), [("other.test", True), ("shop.test", False)])
async def test_a_certificate_of_another_name_or_authority_is_not_spoken_to(
    make: Make,
    receiver: Receiver,
    names: Names,
    ca_file: Path,
    tls_for: Tls,
    name: str,
    trusted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    names["shop.test"] = [["127.0.0.1"]]
    async with receiver.running(tls_for(name)) as port:
        webhook = make(f"https://shop.test:{port}/", ca_file=ca_file if trusted else None)

        assert type(await failure_of(webhook, once=False)) is Untrusted

    assert receiver.received == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    make: Make, receiver: Receiver, names: Names
) -> None:
    """Of a name that leads elsewhere when it is looked up again, the first answer is used."""
    names["shop.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    async with receiver.running() as port:
        await make(f"http://shop.test:{port}/").send(EVENT, once=True)

    assert len(receiver.received) == 1
    assert names["shop.test"] == [["127.0.0.2"]]


async def test_a_name_is_looked_up_and_checked_at_each_try(
    make: Make, receiver: Receiver, names: Names
) -> None:
    names["shop.test"] = [["127.0.0.1"], ["169.254.169.254"]]
    async with receiver.running() as port:
        webhook = make(f"http://shop.test:{port}/")
        await webhook.send(EVENT)

        failure = await failure_of(webhook)

    assert type(failure) is Misconfigured
    assert failure.error == "its name leads to 169.254.169.254, whose address is link-local"
    assert len(receiver.received) == 1


@pytest.mark.parametrize("found", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"]])
async def test_a_name_that_leads_to_a_private_address_is_a_matter_of_configuration(
    make: Make, receiver: Receiver, names: Names, found: list[str]
) -> None:
    async with receiver.running() as port:
        names["shop.test"] = [found]
        webhook = make(f"http://shop.test:{port}/", allow_private=False)

        failure = await failure_of(webhook, once=False)

    assert type(failure) is Misconfigured
    assert failure.error == (
        "its name leads to 127.0.0.1, whose address is loopback "
        "(WEBHOOK_ALLOW_PRIVATE=true allows it)"
    )
    assert receiver.received == []


async def test_the_next_address_is_tried_where_one_can_not_be_connected_to(
    make: Make, receiver: Receiver, names: Names
) -> None:
    names["shop.test"] = [["127.0.0.3", "127.0.0.1"]]
    async with receiver.running() as port:
        await make(f"http://shop.test:{port}/").send(EVENT, once=True)

    assert len(receiver.received) == 1


async def test_of_several_addresses_only_one_is_sent_to(
    make: Make, receiver: Receiver, names: Names
) -> None:
    names["shop.test"] = [["127.0.0.1", "127.0.0.3"]]
    receiver.next_answers(hang_up)
    async with receiver.running() as port:
        failure = await failure_of(make(f"http://shop.test:{port}/"))

    assert len(receiver.received) == 1
    # Of the second, where nobody listens, it would have been another.
    assert failure.error == "it hung up in the middle"


@pytest.mark.parametrize(
    ("number", "kind"), [(socket.EAI_AGAIN, Transient), (socket.EAI_NONAME, Misconfigured)]
)
async def test_a_name_without_an_address(
    make: Make, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[CallFailed]
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(number, "as the resolver says")

    webhook = make("http://shop.test/")
    monkeypatch.setattr(socket, "getaddrinfo", fail)

    failure = await failure_of(webhook)

    assert type(failure) is kind
    assert failure.error == "its name has no address: as the resolver says"


async def test_no_proxy_of_the_environment_is_used(
    make: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Receiver()
    async with receiver.running() as port, proxy.running() as proxy_port:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")
        await make(f"http://127.0.0.1:{port}/").send(EVENT)

    assert len(receiver.received) == 1
    assert proxy.received == []


# What is logged

REDIRECTED = "it answered 301; redirects are not followed"


@pytest.mark.parametrize(
    ("failure", "cure"),
    [
        (Misconfigured(REDIRECTED, status=301), "Check the URL of the route web-shop."),
        (
            Untrusted("its certificate is not trusted: expired"),
            (
                "Check the URL of the route web-shop. "
                "CA_FILE names authorities to trust besides the public ones."
            ),
        ),
        (
            NotAccepted("it answered 401", status=401),
            "Check that its receiver knows the secret of the route web-shop.",
        ),
    ],
)
async def test_the_log_names_the_route_and_what_to_do(
    make: Make, log: Log, failure: CallFailed, cure: str
) -> None:
    circuit = make("http://shop.test/hooks/T0123456789abc").circuit
    for _ in range(5):
        count_failure(circuit, failure, datetime.now(UTC))

    said = f"{failure.error}. {cure} Nothing is lost; it goes on trying."
    assert log.errors == [f"Webhook web-shop can't be used: {said}"]


async def test_what_time_may_heal_is_a_warning(make: Make, log: Log) -> None:
    circuit = make("http://shop.test/").circuit
    for _ in range(5):
        count_failure(circuit, Transient("it answered 500", status=500), datetime.now(UTC))

    assert log.errors == []
    assert log.warnings == [
        "Webhook web-shop can't be reached: it answered 500. Nothing is lost; it goes on trying."
    ]


# How it is made


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ([], "needs a secret"),
        (["hunter2hunter2hunter2hunter2"], "starts with whsec_"),
        (["whsec_hunter2!"], "whsec_ and base64"),
        (["whsec_hünter2"], "whsec_ and base64"),
        ([SECRET, "whsec_" + base64.b64encode(b"hunter2").decode()], "24 to 64 bytes, not 7"),
        (["whsec_" + base64.b64encode(b"h" * 23).decode()], "24 to 64 bytes, not 23"),
        (["whsec_" + base64.b64encode(b"h" * 65).decode()], "24 to 64 bytes, not 65"),
        (["whsec_"], "24 to 64 bytes, not 0"),
    ],
)
async def test_a_secret_that_is_none_is_refused_in_words_that_do_not_show_it(
    secrets: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match="webhook") as refused:
        Webhook("a", "https://shop.test/", secrets, allow_private=False, ca_file=None)

    assert said in str(refused.value)
    for shown in ("hunter2", *(one.removeprefix("whsec_") for one in secrets)):
        assert not shown or shown not in str(refused.value)


@pytest.mark.parametrize("length", [24, 64])
async def test_a_secret_of_24_to_64_bytes_is_taken(make: Make, length: int) -> None:
    make("http://shop.test/", "whsec_" + base64.b64encode(b"h" * length).decode())


async def test_its_circuit_is_that_of_its_route(make: Make) -> None:
    circuit = make("http://shop.test/").circuit

    assert (circuit.target, circuit.label) == ("webhook:web-shop", "Webhook web-shop")


async def test_no_url_and_no_secret_is_shown_of_it(make: Make) -> None:
    shown = repr(make("http://shop.test/hooks/T0123456789abc"))

    assert "T0123456789abc" not in shown
    assert SECRET not in shown
