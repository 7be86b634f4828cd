"""A body that is far too large is refused, and costs no memory on its way."""

import socket

import pytest

from tests.system.processes import status_of
from tests.system.stack import Stack

MEBIBYTE = 1024 * 1024
HEAD = (
    b"POST /api/customers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer agent123\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def peak_memory(pid: int) -> int:
    return int(status_of(pid)["VmHWM"].removesuffix(" kB")) * 1024


@pytest.mark.long
@pytest.mark.engine("sqlite")
def test_two_hundred_mebibytes_in_chunks_cost_no_memory(stack: Stack) -> None:
    stack.crm.start()
    stack.crm.wait_until_ready()
    before = peak_memory(stack.crm.pid)
    chunk = b"%x\r\n%b\r\n" % (MEBIBYTE, b" " * MEBIBYTE)

    with socket.create_connection(("127.0.0.1", stack.crm.port), timeout=20) as connection:
        connection.sendall(HEAD)
        for _ in range(200):
            connection.sendall(chunk)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"urn:problem:body-too-large" in answer
    assert peak_memory(stack.crm.pid) - before < 16 * MEBIBYTE
