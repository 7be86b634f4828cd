"""How a server takes new callers."""

import asyncio
import socket
from contextlib import ExitStack

import pytest
import uvloop

from service_kit.process.environment import Refused
from service_kit.process.server import ACCEPTED_AT_ONCE, bind, many_times

pytestmark = pytest.mark.slow

CALLERS = 3 * ACCEPTED_AT_ONCE


class Taken(asyncio.Protocol):
    """Counts the connections that a server has taken."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Taken.count += 1


async def turns_until_all_are_taken(listening: list[socket.socket]) -> int:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Taken, sock=one) for one in listening]
    with ExitStack() as callers:
        for _ in range(CALLERS):
            callers.enter_context(socket.create_connection(listening[0].getsockname()))
        turns = 0
        while Taken.count < CALLERS:
            await asyncio.sleep(0)
            turns += 1
    for server in servers:
        server.close()
    return turns


def test_many_new_callers_are_taken_in_one_turn_of_the_loop() -> None:
    bound = bind("127.0.0.1", 0)
    bound.listen()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        turns = runner.run(turns_until_all_are_taken(many_times(bound)))

    assert turns <= 10


def test_an_address_that_is_taken_is_shown_as_in_a_url() -> None:
    try:
        taken = bind("::1", 0)
    except Refused:
        pytest.skip("a machine without IPv6")
    with taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=rf"^\[::1\]:{port}: Address already in use\."):
            bind("::1", port)
