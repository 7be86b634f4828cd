"""What only a real server shows of the edge: who is at the other end, and the bytes of a HEAD."""

import socket

import httpx
import pytest

from tests.conftest import bearer
from tests.system.processes import until
from tests.system.stack import Stack

pytestmark = pytest.mark.engine("sqlite")


@pytest.mark.parametrize(("proxies", "address"), [("", "127.0.0.1"), ("127.0.0.1", "203.0.113.7")])
def test_a_proxy_is_believed_when_it_is_named(stack: Stack, proxies: str, address: str) -> None:
    stack.crm.start(FORWARDED_ALLOW_IPS=proxies)
    stack.crm.wait_until_ready()
    headers = bearer("wrong") | {"X-Forwarded-For": "203.0.113.7"}

    answer = httpx.get(f"{stack.crm.url}/api/customers", headers=headers, trust_env=False)

    assert answer.status_code == 401
    until(lambda: f"from {address}." in stack.crm.logged(), "it is logged")


def test_a_head_sends_no_body_and_keeps_the_connection(stack: Stack) -> None:
    stack.crm.start()
    stack.crm.wait_until_ready()
    requests = (
        b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )

    with socket.create_connection(("127.0.0.1", stack.crm.port), 5) as connection:
        connection.sendall(requests)
        told = b"".join(iter(lambda: connection.recv(4096), b""))

    head, rest, body = told.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"content-length: 15" in head
    assert rest.startswith(b"HTTP/1.1 200 OK")
    assert body == b'{"status":"ok"}'
