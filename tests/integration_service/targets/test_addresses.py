"""Where a webhook may go, and where it may not."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from integration_service.targets import addresses
from integration_service.targets.addresses import AddressRefused, checked_url, refusal, resolve

PUBLIC = [
    "1.1.1.1",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "223.255.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "2606:2800:21f:cb07::1",
    "2000::1",
    "2003::1",
    "3ffe:ffff::1",
    # Those that carry a public one.
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
    "64:ff9b:1::1.1.1.1",
    "64:ff9b:1:808:8:800::",
    "2002:101:101::1",
]
PRIVATE = {
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.0": "private",
    "100.127.255.255": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.0.1": "private",
    "198.18.0.1": "private",
    "198.19.255.255": "private",
    "fc00::1": "private",
    "fdff::1": "private",
    "fec0::1": "private",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::192.168.1.1": "private",
    "64:ff9b:1::10.1.1.1": "private",
    "64:ff9b:1:a01:1:100::": "private",
    "2002:a01:101::1": "private",
    # Teredo: a private server, and then a private client, which is written inverted.
    "2001:0:a01:101::fefe:fefe": "private",
    "2001:0:101:101::f5fe:fefe": "private",
}
METADATA = "that of a cloud's metadata service"
NEVER = {
    "169.254.169.254": "link-local",
    "169.254.0.0": "link-local",
    "169.254.255.255": "link-local",
    "fe80::1": "link-local",
    "febf::1": "link-local",
    "fe80::a9fe:a9fe": "link-local",
    "fe80::1%1": "link-local",
    "fd00:ec2::254": METADATA,
    "fd00:ec2::23": METADATA,
    "fd20:ce::254": METADATA,
    "fd00:c1::a9fe:a9fe": METADATA,
    "fd00:42::42": METADATA,
    "100.100.100.200": METADATA,
    "168.63.129.16": METADATA,
    "192.0.0.192": METADATA,
    "0.0.0.0": "unspecified",  # noqa: S104
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "ff02::1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "192.0.2.1": "reserved",
    "2001:db8::1": "reserved",
    "2001:20::1": "reserved",
    "3fff::1": "reserved",
    "::1.1.1.1": "reserved",
    "100::1": "reserved",
    "4000::1": "reserved",
    "::ffff:169.254.169.254": "link-local",
    "::ffff:0.0.0.0": "unspecified",
    "64:ff9b::169.254.169.254": "link-local",
    "64:ff9b::100.100.100.200": METADATA,
    "64:ff9b:1::169.254.169.254": "link-local",
    "64:ff9b:1:a9fe:a9:fe00:808:808": "link-local",
    # Read with another length of the prefix it would be 254.169.254.8, or 254.8.8.8.
    "64:ff9b:1:a9:fe:a9fe:808:808": "reserved",
    "64:ff9b:1:0:a9:fea9:fe08:808": "reserved",
    "64:ff9b:1::": "reserved",
    "2002:a9fe:a9fe::1": "link-local",
    "2001:0:a9fe:a9fe::fefe:fefe": "link-local",
}
ALLOWED_BY = " (WEBHOOK_ALLOW_PRIVATE=true allows it)"


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_called(address: str, allow_private: bool) -> None:
    assert refusal(ip_address(address), allow_private=allow_private) is None


@pytest.mark.parametrize(("address", "kind"), PRIVATE.items())
def test_a_private_address_is_called_only_where_that_is_allowed(address: str, kind: str) -> None:
    assert refusal(ip_address(address), allow_private=False) == kind + ALLOWED_BY
    assert refusal(ip_address(address), allow_private=True) is None


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize(("address", "kind"), NEVER.items())
def test_some_addresses_are_never_called(address: str, kind: str, allow_private: bool) -> None:
    assert refusal(ip_address(address), allow_private=allow_private) == kind


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "": "starts with https://",
        "shop.example.com/hooks": "starts with https://",
        "//shop.example.com/": "starts with https://",
        "ftp://shop.example.com/": "starts with https://",
        "file:///etc/passwd": "starts with https://",
        "https://hunter2:secret@shop.example.com/": "no user name",
        "https://hunter2@shop.example.com/": "no user name",
        "https://shop.example.com/#secret": "no fragment",
        "https://shop.example.com/#": "no fragment",
        "https://": "names no host",
        "https:///secret": "names no host",
        "https://a..secret": "names no host",
        "https://secret secret/": "names no host",
        "https://%31%32%37.secret/": "names no host",
        "https://-secret.com/": "names no host",
        "https://" + "secret." * 40 + "com/": "names no host",
        "https://[fe80::1%25secret]/": "names no host",
        "https://[::1": "malformed",
        "https://shop.example.com:secret/": "malformed",
        "https://shop.example.com/\nsecret": "malformed",
        "https://１２７.0.0.1/secret": "malformed",  # noqa: RUF001
        "https://shop.example.com:0/secret": "port",
        "https://shop.example.com:65536/secret": "port",
        "https://127.1/secret": "four decimal numbers",
        "https://0x7f.1/secret": "four decimal numbers",
        "https://0x7f000001/secret": "four decimal numbers",
        "https://2130706433/secret": "four decimal numbers",
        "https://0177.0.0.1/secret": "malformed",
        "https://127.0.0.256/secret": "malformed",
        "https://127.0.0.1/secret": "loopback",
        "https://127.0.0.1./secret": "loopback",
        "https://[::1]/secret": "loopback",
        "https://[::ffff:127.0.0.1]/secret": "loopback",
        "https://[::ffff:7f00:1]/secret": "loopback",
        "http://169.254.169.254/secret": "link-local",
        "http://[fd00:ec2::254]/secret": METADATA,
    }.items(),
)
def test_a_url_that_is_none_for_a_webhook_is_refused_in_words_that_do_not_show_it(
    text: str, said: str
) -> None:
    with pytest.raises(ValueError, match="webhook") as refused:
        checked_url(text, allow_private=False)

    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "https://shop.example.com/hooks/crm?key=value",
        "http://shop.example.com:8080",
        "https://bücher.example/",
        "https://my_receiver/",
        "https://shop.example.com./",
        "HTTPS://SHOP.EXAMPLE.COM/",
        "https://1.1.1.1/",
        "https://[2606:2800:21f:cb07::1]:8443/",
    ],
)
def test_any_other_url_is_taken(text: str) -> None:
    checked_url(text, allow_private=False)


def test_private_and_local_addresses_are_taken_where_that_is_allowed() -> None:
    checked_url("http://127.0.0.1:8080/", allow_private=True)
    with pytest.raises(ValueError, match="link-local"):
        checked_url("http://169.254.169.254/", allow_private=True)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a name resolves to."""
    found: list[str] = []

    def look_up(host: str, *_args: object, **_kwargs: object) -> list[Any]:
        assert host == "shop.example.com"
        return [(0, 0, 0, "", (address, 0)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


async def test_a_name_gives_the_addresses_it_resolves_to(answers: list[str]) -> None:
    answers += ["1.1.1.1", "2606:2800:21f:cb07::1", "1.1.1.1"]

    url = checked_url("https://shop.example.com/", allow_private=False)
    found = await resolve(url, allow_private=False)

    assert found == ["1.1.1.1", "2606:2800:21f:cb07::1"]


@pytest.mark.parametrize("private", ["10.0.0.1", "::ffff:127.0.0.1", "fe80::1%2"])
@pytest.mark.parametrize("is_last", [True, False])
async def test_one_private_address_among_public_ones_refuses_all(
    answers: list[str], private: str, is_last: bool
) -> None:
    answers += ["1.1.1.1", private] if is_last else [private, "1.1.1.1"]
    url = checked_url("https://shop.example.com/", allow_private=False)

    with pytest.raises(AddressRefused, match=f"leads to {private}"):
        await resolve(url, allow_private=False)


def test_the_tables_overlap_only_where_the_stricter_comes_first() -> None:
    """What is never allowed is looked at first, so a private network may hold some of it."""
    for _, never in addresses._NEVER_NETWORKS:
        assert refusal(never[0], allow_private=True) is not None
