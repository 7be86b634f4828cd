"""Failures of which each byte, or its absence, matters: over real sockets."""

import asyncio
import gzip
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
import pytest
import uvloop

from integration_service.deliveries.models import Arrival
from integration_service.feed import store
from integration_service.targets import http
from integration_service.targets.failures import Transient
from integration_service.targets.http import Link
from tests.integration_service.conftest import FakeClock, Integration, Log, Start
from tests.integration_service.doubles import InventoryDouble

DEADLINE = 0.3
NO_TIME = struct.pack("ii", 1, 0)  # to linger for: a close becomes a reset

# Writes what it likes in place of an answer, to a request that may be carried out or not.
Behaviour = Callable[["Server", asyncio.StreamWriter, httpx.Request], Awaitable[None]]


class Server:
    """An Inventory on a real port, sound unless it is told to misbehave."""

    def __init__(self) -> None:
        self.inventory = InventoryDouble()
        self.behaviour: Behaviour | None = None
        self.connections = 0
        self._open: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Serve. Gives the address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", ssl=tls)
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        # Whatever the other end does is its own affair.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            request = httpx.Request("POST", "http://x", content=await reader.readexactly(length))
            await (self.behaviour or answer)(self, writer, request)
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        self._open.discard(task)


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


async def answer(server: Server, writer: asyncio.StreamWriter, request: httpx.Request) -> None:
    body = server.inventory.carry_out(request).content
    writer.write(head(f"Content-Length: {len(body)}") + body)
    await writer.drain()


async def say_nothing(_: Server, _writer: asyncio.StreamWriter, _request: httpx.Request) -> None:
    await asyncio.sleep(3 * DEADLINE)


async def do_it_and_say_nothing(
    server: Server, writer: asyncio.StreamWriter, request: httpx.Request
) -> None:
    server.inventory.carry_out(request)
    await say_nothing(server, writer, request)


async def hang_up(_: Server, _writer: asyncio.StreamWriter, _request: httpx.Request) -> None:
    pass


async def do_it_and_hang_up(
    server: Server, _writer: asyncio.StreamWriter, request: httpx.Request
) -> None:
    server.inventory.carry_out(request)


async def reset(server: Server, writer: asyncio.StreamWriter, request: httpx.Request) -> None:
    server.inventory.carry_out(request)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
    writer.transport.abort()


async def stop_short(server: Server, writer: asyncio.StreamWriter, request: httpx.Request) -> None:
    body = server.inventory.carry_out(request).content
    writer.write(head(f"Content-Length: {len(body)}") + body[:-1])
    await writer.drain()


async def stop_in_a_chunk(
    server: Server, writer: asyncio.StreamWriter, request: httpx.Request
) -> None:
    body = server.inventory.carry_out(request).content
    writer.write(head("Transfer-Encoding: chunked") + b"%x\r\n%b" % (len(body), body))
    await writer.drain()


async def stop_in_the_head(
    server: Server, writer: asyncio.StreamWriter, request: httpx.Request
) -> None:
    server.inventory.carry_out(request)
    writer.write(b"HTTP/1.1 200 O")
    await writer.drain()


async def speak_another_language(
    _: Server, writer: asyncio.StreamWriter, _request: httpx.Request
) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await writer.drain()


async def endless_head(_: Server, writer: asyncio.StreamWriter, _request: httpx.Request) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Endless: " + b"x" * 10_000 + b"\r\n")
        await writer.drain()


async def too_much(server: Server, writer: asyncio.StreamWriter, request: httpx.Request) -> None:
    server.inventory.carry_out(request)
    writer.write(head("Transfer-Encoding: chunked"))
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def compress(server: Server, writer: asyncio.StreamWriter, request: httpx.Request) -> None:
    body = gzip.compress(server.inventory.carry_out(request).content)
    writer.write(
        head(
            "Content-Type: application/json",
            "Content-Encoding: gzip",
            f"Content-Length: {len(body)}",
        )
        + body
    )
    await writer.drain()


async def drip(server: Server, writer: asyncio.StreamWriter, request: httpx.Request) -> None:
    server.inventory.carry_out(request)
    writer.write(head("Content-Length: 1000000"))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(DEADLINE / 10)


async def drip_the_head(_: Server, writer: asyncio.StreamWriter, _request: httpx.Request) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(DEADLINE / 10)


BEHAVIOURS = {
    # What it does, what is said of it, how often it is tried at once.
    "hangs up": (hang_up, "RemoteProtocolError", 3),
    "does it and hangs up": (do_it_and_hang_up, "RemoteProtocolError", 3),
    "resets": (reset, "Error", 3),
    "stops short": (stop_short, "RemoteProtocolError", 3),
    "stops in a chunk": (stop_in_a_chunk, "RemoteProtocolError", 3),
    "stops in the head": (stop_in_the_head, "RemoteProtocolError", 3),
    "speaks another language": (speak_another_language, "RemoteProtocolError", 3),
    "endless head": (endless_head, "RemoteProtocolError", 3),
    "too much": (too_much, "the answer is larger than 200000 bytes", 1),
    "compresses all the same": (compress, "its answer is not JSON", 1),
}
ENDLESS = {
    "says nothing": say_nothing,
    "does it and says nothing": do_it_and_say_nothing,
    "drips": drip,
    "drips informational heads": drip_the_head,
}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def address(server: Server) -> AsyncIterator[str]:
    async with server.running() as address:
        yield address


async def owe(integration: Integration, *uids: str) -> None:
    """Owe these customers a package, without a CRM that tells of them."""
    arrivals = [Arrival(uid, None, number) for number, uid in enumerate(uids, 1)]
    move = {"old": None, "new": "a-9", "through": 9, "head": 9, "caught_up": None}
    now = integration.clock()
    await integration.database.write(store.note_page, integration.lease, arrivals, move, now)


@pytest.mark.parametrize(("behaviour", "said", "tries"), BEHAVIOURS.values(), ids=list(BEHAVIOURS))
async def test_a_server_that_misbehaves_is_tried_again(
    start: Start,
    server: Server,
    address: str,
    clock: FakeClock,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Behaviour,
    said: str,
    tries: int,
) -> None:
    monkeypatch.setattr(http, "LARGEST_ANSWER", 200_000)
    integration = await start(inventory_api_url=f"http://{address}")
    await owe(integration, "ada", "bob")
    server.behaviour = behaviour

    await integration.send()

    assert server.connections == tries
    await assert_all_are_tried_again(integration, log, said)
    await assert_all_are_delivered(integration, server, clock)


@pytest.mark.parametrize("behaviour", ENDLESS.values(), ids=list(ENDLESS))
async def test_a_server_that_comes_to_no_end_is_tried_again_in_time(
    start: Start, server: Server, address: str, clock: FakeClock, log: Log, behaviour: Behaviour
) -> None:
    integration = await start(inventory_api_url=f"http://{address}")
    link = integration.poller.targets.inventory.link
    await owe(integration, "ada", "bob")
    server.behaviour = behaviour

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "_call_seconds", DEADLINE)
        async with asyncio.timeout(30):
            await integration.send()

    # None where the time was up before the machine had come to it.
    assert server.connections <= 1
    await assert_all_are_tried_again(integration, log, f"no whole answer within {DEADLINE} s")
    await assert_all_are_delivered(integration, server, clock)


async def assert_all_are_tried_again(integration: Integration, log: Log, said: str) -> None:
    for row in (await integration.rows()).values():
        assert (row.state, row.attempt_count, row.error_class) == ("retrying", 1, "transient")
        assert said in row.error
    assert log.errors == []
    assert len(log.warnings) == 1


async def assert_all_are_delivered(
    integration: Integration, server: Server, clock: FakeClock
) -> None:
    server.behaviour = None
    clock.advance(seconds=1)
    await integration.send()
    assert set((await integration.states()).values()) == {"delivered"}
    assert server.inventory.owners == ["ada", "bob"]


async def assert_it_is_a_matter_of_configuration(
    integration: Integration, log: Log, said: str
) -> None:
    await owe(integration, "ada")
    await integration.send()

    assert (await integration.rows())["ada"].attempt_count == 0
    circuit = (await integration.status()).circuits["inventory"]
    assert (circuit.state, circuit.error_class) == ("open", "configuration")
    assert said in str(circuit.error)
    assert len(log.errors) == 1
    assert "Check INVENTORY_API_URL." in log.errors[0]


async def test_a_server_that_speaks_no_tls_is_a_matter_of_configuration(
    start: Start, server: Server, log: Log
) -> None:
    async def speak_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("Content-Length: 0", status="400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(speak_at_once, "127.0.0.1") as plain:
        port = plain.sockets[0].getsockname()[1]
        integration = await start(inventory_api_url=f"https://127.0.0.1:{port}")

        await assert_it_is_a_matter_of_configuration(integration, log, "TLS failed")


async def test_a_name_without_an_address_is_a_matter_of_configuration(
    start: Start, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    integration = await start(inventory_api_url="http://inventory.test")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    await assert_it_is_a_matter_of_configuration(integration, log, "its name has no address")


async def test_a_port_where_nobody_listens_is_tried_again(start: Start, log: Log) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        integration = await start(inventory_api_url=f"http://127.0.0.1:{port}")
        await owe(integration, "ada")
        await integration.send()

    row = (await integration.rows())["ada"]
    assert (row.state, row.error_class) == ("retrying", "transient")
    assert "ConnectError" in row.error
    assert log.errors == []


@contextmanager
def resetting() -> Iterator[str]:
    """Reset each connection as soon as there is one. Gives the address."""

    def reset_each() -> None:
        with suppress(OSError):  # of a socket that is shut down
            while True:
                connection, _ = listening.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        # A thread hits moments that a task of the caller's own loop never does.
        thread = threading.Thread(target=reset_each)
        thread.start()
        try:
            yield f"http://{host}:{port}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_connection_that_is_reset_as_it_is_made_is_tried_again() -> None:
    async def call_often(address: str) -> None:
        far_side = Link(address, "viewer123")
        for _ in range(500):
            with pytest.raises(Transient, match="Error"):
                await far_side.call("GET", "/", once=True)
        await far_side.close()

    # What serves has uvloop, whose errors differ.
    with resetting() as address, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call_often(address))
