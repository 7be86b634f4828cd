"""What uvicorn lets a client do to a server, and `DeadlineProtocol` doesn't."""

import asyncio
import contextlib
import inspect
import json
import logging
import resource
import socket
import time
from dataclasses import dataclass
from uuid import UUID

import pytest
import uvicorn
import uvicorn.server
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service_kit.process.protocol import DeadlineProtocol, OneWrite, most_connections

pytestmark = pytest.mark.slow

HEAD_DEADLINE = 0.3
BODY_DEADLINE = 0.4
KEEP_ALIVE = 1.0
# Longer than either deadline and the time it may take to notice.
PATIENCE = 2.0

GET = b"GET /echo HTTP/1.1\r\nHost: crm\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: crm\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = 2 * 1024 * 1024
LEAST_BODY = 20


class Impatient(DeadlineProtocol):
    head_deadline = HEAD_DEADLINE
    body_deadline = BODY_DEADLINE
    least_body_bytes = LEAST_BODY
    linger = 0.2
    max_pipelined = 4
    latest: "Impatient"

    def connection_made(self, transport):
        super().connection_made(transport)
        self.taken = self.looks = 0
        self.gone = asyncio.Event()
        type(self).latest = self

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.gone.set()

    def _check(self):
        self.looks += 1
        super()._check()

    def data_received(self, data):
        self.taken += len(data)
        super().data_received(data)


class Server(uvicorn.Server):
    # Signals belong to pytest.
    capture_signals = staticmethod(contextlib.nullcontext)

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.is_up.set()


async def app(scope, receive, send):
    """Echo what came; except that some paths take long, or answer without reading."""
    path = scope["path"]
    body, more = b"", path not in {"/early", "/abandoned"}
    if path == "/upload":
        scope["slow_body"] = True
    if path == "/late":
        await asyncio.sleep(2 * BODY_DEADLINE)
    while more:
        message = await receive()
        more = message.get("more_body", False)
        body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            return
    if path == "/slow":
        await asyncio.sleep(2 * BODY_DEADLINE)
    seen = {
        "method": scope["method"],
        "path": path,
        "size": len(body),
        "headers": [name.decode() for name, _ in scope["headers"]],
        "host": [value.decode() for name, value in scope["headers"] if name == b"host"],
    }
    answer = b"x" * LARGE if path == "/large" else json.dumps(seen).encode()
    length = str(len(answer)).encode()
    if path == "/abandoned":
        Impatient.latest.transport.abort()  # what a client's reset leads to
        await Impatient.latest.gone.wait()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": answer})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def seen(self):
        return json.loads(self.body)


@dataclass
class Wire:
    """One connection, seen from the client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces, every=0.0):
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(every)

    async def answer(self):
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(status.split()[1]), headers, body)

    async def closed(self):
        """Wait until the server has closed. Returns what it still had to say."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def refusal(self):
        """Wait for a problem and the end of the connection. Returns the problem's document."""
        answer = await self.answer()
        async with asyncio.timeout(PATIENCE):
            assert await self.reader.read() == b""  # an orderly end, not a reset
        document = answer.seen
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"] == document["request_id"]
        assert UUID(document["request_id"]).version == 4
        assert document["status"] == answer.status
        assert document.keys() == {"type", "title", "status", "detail", "instance", "request_id"}
        return document


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(scope="module")
async def address(anyio_backend):
    """Run a server for all tests of this file; starting and stopping one takes 0.2 s."""
    listening = socket.create_server(("127.0.0.1", 0))
    # Small buffers in the kernel make it matter whether our own are bounded.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    server = Server(
        uvicorn.Config(
            app,
            http=Impatient,
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=1,
        )
    )
    server.is_up = asyncio.Event()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await server.is_up.wait()
    yield listening.getsockname()
    server.should_exit = True
    await serving


@pytest.fixture
async def connect(address):
    """Open connections that are closed when the test ends."""
    wires = []

    async def connect(receive_buffer=None):
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, address)
        wires.append(Wire(*await asyncio.open_connection(sock=client, limit=1024)))
        return wires[-1]

    yield connect
    for wire in wires:
        wire.writer.transport.abort()


@pytest.fixture
def stopwatch():
    """Give a stopwatch that is started before the server knows of the connection."""
    return Stopwatch()


@pytest.fixture
async def wire(stopwatch, connect):
    return await connect()


@pytest.fixture
async def others_are_served(connect):
    """Ask for something every 50 ms on another connection as long as the test runs."""
    other = await connect()
    statuses = []

    async def ask():
        while True:
            await other.send(GET, every=0.05)
            statuses.append((await other.answer()).status)

    asking = asyncio.create_task(ask())
    yield
    assert not asking.done(), asking.exception()
    assert set(statuses) == {200}
    asking.cancel()


@contextlib.asynccontextmanager
async def dripping(wire, start, drop, every=0.05):
    """Send a drop now and then, until the block ends or the server has had enough."""

    async def drip():
        with contextlib.suppress(ConnectionError):
            await wire.send(start)
            while True:
                await wire.send(drop, every=every)

    task = asyncio.create_task(drip())
    yield
    task.cancel()
    await asyncio.wait([task])


class Stopwatch:
    """Shows that nothing was cut off early; how late it was is up to the machine."""

    def __init__(self):
        self.started_at = time.monotonic()

    def shows_at_least(self, seconds):
        return time.monotonic() - self.started_at >= seconds - 0.05


# Clients that are too slow


@pytest.mark.usefixtures("others_are_served")
async def test_a_silent_client_is_closed_without_a_word(wire, stopwatch):
    assert await wire.closed() == b""
    assert stopwatch.shows_at_least(HEAD_DEADLINE)


@pytest.mark.usefixtures("others_are_served")
async def test_a_client_that_stops_in_its_request_line_is_told_and_closed(wire, stopwatch):
    await wire.send(b"GET /custo")
    document = await wire.refusal()
    assert stopwatch.shows_at_least(HEAD_DEADLINE)
    assert document["type"] == "urn:problem:request-timeout"
    assert document["title"] == "Request Timeout"
    assert document["status"] == 408


@pytest.mark.usefixtures("others_are_served")
async def test_a_client_that_drips_its_head_is_told_and_closed(wire, stopwatch):
    async with dripping(wire, b"GET /echo HTTP/1.1\r\nX: ", drop=b"x"):
        document = await wire.refusal()
    assert stopwatch.shows_at_least(HEAD_DEADLINE)
    assert (document["status"], document["instance"]) == (408, "/echo")


@pytest.mark.usefixtures("others_are_served")
@pytest.mark.parametrize(
    ("start", "drop"),
    [(POST + b"Content-Length: 1000\r\n\r\n", b"x"), (CHUNKED, b"1\r\nx\r\n")],
    ids=["length", "chunked"],
)
async def test_a_client_that_drips_its_body_is_told_and_closed(wire, stopwatch, start, drop):
    async with dripping(wire, start, drop):
        document = await wire.refusal()
    assert stopwatch.shows_at_least(BODY_DEADLINE)
    assert (document["status"], document["instance"]) == (408, "/echo")


UPLOAD = POST.replace(b"/echo", b"/upload")


async def test_a_slow_body_is_not_cut_where_it_may_be_slow(wire, stopwatch):
    size, step = 3000, 100
    await wire.send(UPLOAD + b"Content-Length: %d\r\n\r\n" % size)
    await wire.send(*[b"x" * step] * (size // step), every=3 * BODY_DEADLINE / (size // step))
    assert (await wire.answer()).seen["size"] == size
    assert stopwatch.shows_at_least(3 * BODY_DEADLINE)


@pytest.mark.usefixtures("others_are_served")
@pytest.mark.parametrize("begun", [b"", b"x" * LEAST_BODY], ids=["at-once", "later"])
async def test_a_body_that_may_be_slow_may_not_fall_silent(wire, stopwatch, begun):
    await wire.send(UPLOAD + b"Content-Length: 1000\r\n\r\n" + begun)
    document = await wire.refusal()
    assert stopwatch.shows_at_least((1 + bool(begun)) * BODY_DEADLINE)
    assert (document["status"], document["instance"]) == (408, "/upload")


@pytest.mark.usefixtures("others_are_served")
async def test_a_body_that_may_be_slow_may_not_drip(wire, stopwatch):
    async with dripping(wire, UPLOAD + b"Content-Length: 1000\r\n\r\n", b"x"):
        document = await wire.refusal()
    assert stopwatch.shows_at_least(BODY_DEADLINE)
    assert document["type"] == "urn:problem:request-timeout"


async def test_a_slow_handler_is_not_cut(wire):
    await wire.send(GET, every=KEEP_ALIVE / 2)
    assert (await wire.answer()).status == 200
    await wire.send(GET.replace(b"/echo", b"/slow"))
    assert (await wire.answer()).status == 200


async def test_a_handler_that_is_slow_to_read_is_not_cut(wire):
    size = 4 * 1024 * 1024
    head = POST.replace(b"/echo", b"/late") + b"Content-Length: %d\r\n\r\n" % size
    await wire.send(head + b"x" * size)
    assert (await wire.answer()).seen["size"] == size


async def test_a_slow_handler_is_not_cut_for_half_a_request_behind_its_own(wire):
    await wire.send(GET.replace(b"/echo", b"/slow"), GET[:20], every=0.05)
    assert (await wire.answer()).status == 200
    await wire.send(GET[20:])
    assert (await wire.answer()).seen["path"] == "/echo"


async def test_a_connection_may_idle_longer_than_a_head_may_take(wire):
    for _ in range(2):
        await wire.send(GET, every=1.5 * HEAD_DEADLINE)
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize(
    ("start", "drop", "path"),
    [(GET[:-2], b"x", "/echo"), (b"", b"\r\n", "")],
    ids=["head", "lines"],
)
async def test_the_next_head_in_a_connection_has_a_deadline_of_its_own(
    wire, stopwatch, start, drop, path
):
    await wire.send(GET, every=0.8 * HEAD_DEADLINE)
    assert (await wire.answer()).status == 200
    async with dripping(wire, start, drop):
        document = await wire.refusal()
    assert stopwatch.shows_at_least(HEAD_DEADLINE)
    assert (document["status"], document["instance"]) == (408, path)


async def test_a_body_that_goes_on_after_the_answer_is_cut(wire, stopwatch):
    start = CHUNKED.replace(b"/echo", b"/early")
    async with dripping(wire, start, drop=b"400\r\n%b\r\n" % (b"x" * 1024), every=0.01):
        assert (await wire.answer()).status == 200
        assert await wire.closed() == b""
    assert stopwatch.shows_at_least(BODY_DEADLINE)


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
async def test_a_client_that_takes_nothing_of_its_answer_is_cut(connect, connection, caplog):
    caplog.set_level(logging.INFO, "service_kit.process.protocol")
    wire = await connect(receive_buffer=4096)
    wire.writer.transport.pause_reading()
    large = b"GET /large HTTP/1.1\r\nHost: crm\r\nConnection: %b\r\n\r\n" % connection
    await wire.send(large, large)
    await asyncio.wait_for(Impatient.latest.gone.wait(), PATIENCE)
    assert "takes nothing" in caplog.text


async def test_a_client_that_takes_its_answers_slowly_gets_all_of_them(connect):
    wire = await connect(receive_buffer=64 * 1024)
    large = b"GET /large HTTP/1.1\r\nHost: crm\r\n"
    await wire.send((large + b"\r\n") * 2 + large + b"Connection: close\r\n\r\n")
    size, seconds_per_byte = 0, 1.2 * HEAD_DEADLINE / LARGE
    while piece := await wire.reader.read(LARGE):
        size += len(piece)
        await asyncio.sleep(len(piece) * seconds_per_byte)
    assert size > 3 * LARGE


async def test_no_timer_outlives_its_connection(wire):
    await wire.send(GET)
    assert (await wire.answer()).status == 200
    protocol = Impatient.latest
    wire.writer.close()
    await asyncio.wait_for(protocol.gone.wait(), PATIENCE)
    looks = protocol.looks
    await asyncio.sleep(2 * BODY_DEADLINE)
    assert protocol.looks == looks


# Clients that send too much


@pytest.mark.parametrize(
    ("size", "status"), [(0, 200), (1, 431), (48 * 1024, 431), (400 * 1024, 431)]
)
async def test_a_head_may_have_16_kib(wire, size, status):
    start = POST + b"Content-Length: 1\r\nX: "
    head = start + b"x" * (16 * 1024 - len(start) - 4 + size) + b"\r\n\r\n"
    sending = asyncio.create_task(wire.send(head))
    if status == 200:
        await sending
        await wire.send(b"x")
        assert (await wire.answer()).status == 200
    else:
        document = await wire.refusal()
        assert document["type"] == "urn:problem:request-head-too-large"
        assert document["title"] == "Request Header Fields Too Large"
        assert document["status"] == 431
        assert document["instance"] == "/echo"
    sending.cancel()
    await asyncio.wait([sending])


@pytest.mark.parametrize(("count", "status"), [(100, 200), (101, 431), (3000, 431)])
async def test_a_head_may_have_100_headers(wire, count, status):
    await wire.send(GET[:-2] + b"a:\r\n" * (count - 1) + b"\r\n")
    assert (await wire.answer()).status == status


@pytest.mark.parametrize(
    "start",
    [b"", b"GET /", GET[:-2] + b"X: ", GET[:-2], CHUNKED, CHUNKED + b"1;", CHUNKED + b"0\r\nX: "],
    ids=["lines", "path", "value", "name", "size", "extension", "trailer"],
)
async def test_what_has_no_end_is_cut_at_the_cap(wire, start):
    refusal = asyncio.create_task(wire.answer())
    block = (b"0" if start else b"\r\n") * 64 * 1024
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            await wire.send(start, *[block] * 1024)
    assert (await refusal).status == 431
    assert Impatient.latest.taken <= 256 * 1024


async def test_a_body_may_be_large_and_come_with_its_head(wire):
    size = 4 * 1024 * 1024
    await wire.send(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
    assert (await wire.answer()).seen["size"] == size


async def test_a_body_may_come_in_many_chunks(wire):
    await wire.send(CHUNKED + b"1;why=not\r\nx\r\n" * 20_000 + b"0\r\n\r\n" + GET)
    assert (await wire.answer()).seen["size"] == 20_000
    assert (await wire.answer()).seen["size"] == 0


# Clients that send nonsense


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n",
        b"GET /echo\xff HTTP/1.1\r\nHost: crm\r\n\r\n",
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: crm\r\nHost: crm\r\n\r\n",
        b"GET /echo HTTP/1.0\r\nHost: crm\r\nHost: crm\r\n\r\n",
        b"GET /echo HTTP/2.0\r\nHost: crm\r\n\r\n",
        b"GET http://crm HTTP/1.1\r\nHost: crm\r\n\r\n",
        b"CONNECT crm:80 HTTP/1.1\r\nHost: crm\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        POST + b"Transfer-Encoding: identity\r\n\r\nabcde",
        CHUNKED + b"five\r\n",
    ],
)
async def test_nonsense_is_refused_as_a_problem(wire, request_):
    await wire.send(request_)
    document = await wire.refusal()
    assert document["type"] == "urn:problem:bad-request"
    assert document["title"] == "Bad Request"
    assert document["status"] == 400


async def test_an_old_client_needs_no_host_header(wire):
    await wire.send(b"GET /echo HTTP/1.0\r\n\r\n")
    assert (await wire.answer()).status == 200
    assert await wire.closed() == b""


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://evil.example:81/echo?a=b", "evil.example:81"),
        (b"HTTP://[::1]/echo", "[::1]"),
        (b"http://crm@evil.example/echo#/@crm", "evil.example"),
        (b"/echo?http://evil.example/", "crm"),
        (b"//evil.example/echo", "crm"),
    ],
)
async def test_of_a_whole_url_as_the_target_its_host_counts(wire, target, host):
    await wire.send(GET.replace(b"/echo", target))
    assert (await wire.answer()).seen["host"] == [host]
    await wire.send(GET)
    assert (await wire.answer()).seen["host"] == ["crm"]


async def test_a_problem_names_the_path_without_its_query(wire):
    await wire.send(b"GET /echo?token=secret HTTP/1.1\r\n\r\n")
    assert (await wire.refusal())["instance"] == "/echo"


async def test_a_cut_is_logged_with_its_reason_and_no_header(wire, caplog):
    caplog.set_level(logging.INFO, "service_kit.process.protocol")
    await wire.send(POST[:-2] + b"\r\nAuthorization: Bearer secret\r\nContent-Length: x\r\n\r\n")
    document = await wire.refusal()
    (record,) = [
        record for record in caplog.records if record.name == "service_kit.process.protocol"
    ]
    assert record.levelno == logging.INFO
    assert record.getMessage() == f"Connection cut: {document['detail']}"
    assert record.request_id == document["request_id"]
    assert "secret" not in caplog.text


# Clients that do nothing wrong


async def test_pipelined_requests_are_answered_in_order(wire):
    await wire.send(
        GET.replace(b"/echo", b"/slow") + POST + b"Content-Length: 5\r\n\r\nabcde" + GET
    )
    answers = [(await wire.answer()).seen for _ in range(3)]
    assert [seen["path"] for seen in answers] == ["/slow", "/echo", "/echo"]
    assert [seen["size"] for seen in answers] == [0, 5, 0]


@pytest.mark.parametrize("cut", [2, 8, 20, 30])
async def test_a_packet_may_end_anywhere_in_the_next_request(wire, cut):
    await wire.send(GET + GET[:cut])
    assert (await wire.answer()).seen["path"] == "/echo"
    await wire.send(GET[cut:])
    assert (await wire.answer()).seen["path"] == "/echo"


async def test_nonsense_behind_good_requests_spoils_only_itself(wire):
    await wire.send(GET.replace(b"/echo", b"/slow") + GET + b"nonsense\r\n\r\n" + GET)
    answers = [await wire.answer() for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[-1].headers["connection"] == "close"
    assert await wire.closed() == b""


async def test_a_queue_in_one_connection_has_a_bound(wire):
    await wire.send(GET * 1000)
    answers = [await wire.answer() for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert answers[-1].headers["connection"] == "close"
    assert await wire.closed() == b""


async def test_a_client_may_wait_for_leave_to_send_its_body(wire):
    await wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert (await wire.answer()).status == 100
    await wire.send(b"abcde")
    assert (await wire.answer()).seen["size"] == 5


async def test_an_offer_to_upgrade_is_ignored(wire):
    body = b"GET /smuggled HTTP/1.1\r\nHost: crm\r\n\r\n"
    offer = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(body)
    await wire.send(POST + offer, body + GET, every=0.05)
    first, second = (await wire.answer()).seen, (await wire.answer()).seen
    assert (first["method"], first["size"]) == ("POST", len(body))
    assert "upgrade" not in first["headers"]
    assert (second["method"], second["path"]) == ("GET", "/echo")


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("connection", [b"Upgrade, close", b"close,upgrade", b"upgrade"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_an_offer_to_upgrade_the_last_request_is_ignored(wire, version, connection, method):
    offer = b"%b /echo HTTP/%b\r\nHost: crm\r\nUpgrade: h2c\r\nConnection: %b\r\n\r\n"
    await wire.send(offer % (method, version, connection))
    async with asyncio.timeout(PATIENCE):
        assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    if version == b"1.0" or b"close" in connection:
        await wire.closed()


async def test_each_of_many_pipelined_offers_to_upgrade_is_ignored(wire):
    offer = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    await wire.send(offer + GET + offer + offer.replace(b"/echo", b"/last"))
    seen = [(await wire.answer()).seen for _ in range(4)]
    assert [one["path"] for one in seen] == ["/echo", "/echo", "/echo", "/last"]
    assert not any("upgrade" in one["headers"] for one in seen)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("behind", [b"", GET], ids=["alone", "pipelined"])
async def test_an_answer_that_its_client_abandons_is_no_bug(wire, method, behind, caplog):
    await wire.send(GET.replace(b"GET /echo", method + b" /abandoned") + behind)
    await wire.closed()
    await asyncio.wait_for(Impatient.latest.gone.wait(), PATIENCE)
    await asyncio.sleep(0)  # the turn in which the answer is sent
    assert not caplog.records


async def test_trailers_do_not_become_headers(wire):
    trailer = b"Authorization: Bearer %b\r\n" % (b"x" * 10_000)
    await wire.send(CHUNKED, b"1\r\nx\r\n", b"0\r\n" + trailer + b"\r\n", every=0.05)
    assert (await wire.answer()).seen["headers"] == ["host", "transfer-encoding"]
    await wire.send(GET[:-2] + trailer + b"\r\n")
    assert (await wire.answer()).seen["headers"] == ["host", "authorization"]


class Recording(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(bytes(data))

    def is_closing(self):
        return False

    def close(self):
        self.written.append("closed")


@pytest.mark.parametrize(
    ("parts", "written"),
    [
        ([b"head ", b"body"], [b"head body", "closed"]),
        ([b"head ", b"first ", b"second"], [b"head first ", b"second", "closed"]),
        ([b"head ", b""], [b"head ", "closed"]),
        ([b"head of HEAD"], [b"head of HEAD", "closed"]),
        ([b"HTTP/1.1 100 ", b"head ", b"body"], [b"HTTP/1.1 100 ", b"head body", "closed"]),
    ],
)
async def test_a_head_and_the_first_part_of_its_body_are_one_write(parts, written):
    transport = Recording()
    answer = OneWrite(transport)

    for part in parts:
        answer.write(part)
    answer.close()

    assert transport.written == written


async def test_connections_over_the_limit_are_cut_and_those_open_stay(connect, monkeypatch):
    wires = [await connect() for _ in range(3)]
    for wire in wires:
        await wire.send(GET)
        assert (await wire.answer()).status == 200
    is_open = Impatient.open_connections.taken
    monkeypatch.setattr(Impatient.open_connections, "most", is_open)

    refused = await connect()
    assert await refused.closed() == b""
    await wires[0].send(GET)
    assert (await wires[0].answer()).status == 200

    monkeypatch.undo()
    again = await connect()
    await again.send(GET)
    assert (await again.answer()).status == 200


async def test_a_connection_that_is_closed_is_counted_no_more(connect):
    before = Impatient.open_connections.taken
    wire = await connect()
    await wire.send(GET)
    await wire.answer()
    assert Impatient.open_connections.taken == before + 1

    protocol = Impatient.latest
    wire.writer.close()
    await asyncio.wait_for(protocol.gone.wait(), PATIENCE)

    assert Impatient.open_connections.taken == before


@pytest.mark.parametrize(("may_open", "most"), [(1024, 512), (20_000, 2000), (-1, 2000)])
def test_connections_leave_files_for_everything_else(monkeypatch, may_open, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (may_open, may_open))

    assert most_connections() == most


async def test_uvicorn_has_what_the_protocol_is_built_on():
    config = uvicorn.Config(app, http=Impatient, ws="none", lifespan="off", log_config=None)
    protocol = Impatient(config=config, server_state=uvicorn.server.ServerState(), app_state={})
    used = {
        protocol: "_unset_keepalive_if_required parser headers pipeline server_state cycle flow"
        " client",
        FlowControl: "pause_reading read_paused write_paused",
        RequestResponseCycle: "disconnected keep_alive response_started transport",
    }

    for where, names in used.items():
        for name in names.split():
            has = hasattr(where, name) or name in inspect.getsource(where)
            assert has, f"uvicorn's {where} has no {name}: adapt service_kit/process/protocol.py"
