"""The file of routes: what it may say, and what is said of one that is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration_service.routes.definitions import (
    WELCOME,
    InventoryRoute,
    Present,
    Route,
    WebhookRoute,
)
from integration_service.routes.file import default_text, hash_of, parse_routes, read_routes
from integration_service.routes.mistakes import Mistake, RoutesFileError
from tests.integration_service.routes.writing import (
    TARGETS,
    WEBHOOK,
    Write,
    in_tables,
    inline,
    some_routes,
    spread,
    text_of,
)


def parse(text: str) -> tuple[Route, ...]:
    return parse_routes(text, TARGETS).routes


def mistakes(text: str) -> list[str]:
    with pytest.raises(RoutesFileError) as error:
        parse(text)
    told = str(error.value).splitlines()
    assert told == [str(mistake) for mistake in error.value.mistakes]
    return told


def test_the_file_that_is_printed_is_the_built_in_route() -> None:
    assert parse(default_text()) == (WELCOME,)
    assert hash_of(parse(default_text())) == hash_of([WELCOME])


def test_a_webhook_needs_few_keys() -> None:
    assert parse(WEBHOOK) == (
        WebhookRoute(
            name="web-shop",
            on=("customer.*", "ticket.status_changed"),
            url="https://shop.example.com/hooks/crm",
            secrets=("WEB_SHOP_SECRET",),
            start_from="beginning",
            order="none",
        ),
    )


def test_a_route_may_say_all_that_there_is() -> None:
    text = WEBHOOK.replace('"WEB_SHOP_SECRET"', '["NEW_SECRET", "OLD_SECRET"]') + (
        'start_from = 17\norder = "subject"\n'
        'when = { type = ["ticket.created", "customer.created"], "data.a" = { present = true } }\n'
        'unless = { "data.priority" = "low", "data.n" = 1.5, "data.b" = { present = false } }\n'
    )

    [route] = parse(text)

    assert isinstance(route, WebhookRoute)
    assert route.secrets == ("NEW_SECRET", "OLD_SECRET")
    assert (route.start_from, route.order) == (17, "subject")
    assert route.when == {
        "type": ("ticket.created", "customer.created"),
        "data.a": Present(True),
    }
    assert route.unless == {"data.priority": "low", "data.n": 1.5, "data.b": Present(False)}


def test_the_route_to_inventory_need_not_say_what_undoes_it() -> None:
    text = default_text().replace('undo_on = ["customer.erased"]\n', 'start_from = "now"\n')

    [route] = parse(text)

    assert isinstance(route, InventoryRoute)
    assert route.undo_on == ("customer.erased",)
    assert route.start_from == "now"


def test_both_targets_may_be_there_or_one_alone() -> None:
    assert [route.target for route in parse(WEBHOOK + default_text())] == ["webhook", "inventory"]


# The line that is wrong ends in <-; then what is said of it, beginning with the route and the key.
WRONG = {
    "a condition of packages": (
        default_text() + 'when = { "data.company" = "A" } # <-',
        "route welcome-package: when: a route to inventory has no conditions of its own; remove it",
    ),
    "packages for the unwelcome": (
        default_text()
        .replace('{ "data.welcome" = false }', '{ "data.a" = 1 }')
        .replace("# imported with --no-welcome", "# <-"),
        'route welcome-package: unless: a route to inventory needs { "data.welcome" = false }',
    ),
    "packages from a position": (
        default_text() + "start_from = 7 # <-",
        'route welcome-package: start_from: must be "beginning" or "now" for a route to inventory',
    ),
    "an unknown key": (
        WEBHOOK + "ordre = 'none' # <-",
        (
            "route web-shop: ordre: is no key of a route. Did you mean order? Allowed: name, on, "
            "when, unless, target, start_from, url, secret, order"
        ),
    ),
    "a missing key": (
        WEBHOOK.replace("[[route]]", "[[route]] # <-").replace('secret = "WEB_SHOP_SECRET"\n', ""),
        'route web-shop: secret: is missing; it must be the name of a secret, as in "SHOP_SECRET"',
    ),
    "a key of the other target": (
        WEBHOOK + "send = {} # <-",
        "route web-shop: send: only a route to the target inventory has this key",
    ),
    "a wrong name": (
        WEBHOOK.replace('"web-shop"', '"Web shop" # <-'),
        'route 1: name: must have 1 to 40 of a to z, 0 to 9 and -, as in "web-shop"',
    ),
    "a long name": (
        WEBHOOK.replace('"web-shop"', f'"{"x" * 41}" # <-'),
        'route 1: name: must have 1 to 40 of a to z, 0 to 9 and -, as in "web-shop"',
    ),
    "a name that another has": (
        WEBHOOK + WEBHOOK.replace('"web-shop"', '"web-shop" # <-'),
        "route web-shop: name: another route has this name",
    ),
    "a name that is Inventory's": (
        WEBHOOK.replace('"web-shop"', '"welcome-package" # <-'),
        "route welcome-package: name: is the name of the route to inventory; choose another",
    ),
    "another name for Inventory's": (
        default_text().replace('"welcome-package"', '"gift" # <-'),
        (
            'route gift: name: must be "welcome-package": in this release there is one route to '
            "inventory, and the ledger has its deliveries under that name"
        ),
    ),
    "a second route to Inventory": (
        default_text()
        + default_text()
        .replace('"welcome-package"', '"welcome-package" # <-')
        .replace('"inventory"', '"inventory" # <-'),
        "route welcome-package: name: another route has this name",
        "route welcome-package: target: in this release at most one route leads to inventory",
    ),
    "an unknown event": (
        WEBHOOK.replace('"customer.*", ', '\n"customer.*", # one\n"customer.creatd", # <-\n'),
        (
            'route web-shop: on: there is no event type "customer.creatd". Did you mean '
            '"customer.created"? Allowed: customer.created, customer.updated, customer.erased, '
            "ticket.created, ticket.updated, ticket.status_changed, ticket.note_added, "
            "ticket.deleted, customer.*, ticket.*"
        ),
    ),
    "an event twice": (
        WEBHOOK.replace('["customer.*", ', '[\n"customer.*",\n"customer.*", # <-\n'),
        "route web-shop: on: customer.* is there twice",
    ),
    "no events": (
        WEBHOOK.replace('["customer.*", "ticket.status_changed"]', "[] # <-"),
        'route web-shop: on: must be a list of event types, as in ["customer.created"]',
    ),
    "a number for an event": (
        WEBHOOK.replace('["customer.*", "ticket.status_changed"]', "[3] # <-"),
        "route web-shop: on: an event type is a text in quotes",
    ),
    "Inventory on another event": (
        default_text().replace('["customer.created"]', '["customer.created", "ticket.*"] # <-'),
        (
            'route welcome-package: on: must be ["customer.created"]: a route to inventory can '
            "have nothing else"
        ),
    ),
    "another undo": (
        default_text().replace('["customer.erased"]', "[] # <-"),
        (
            'route welcome-package: undo_on: must be ["customer.erased"]: a route to inventory can '
            "have nothing else"
        ),
    ),
    "an unknown target": (
        WEBHOOK.replace('"webhook"', '"webhok" # <-'),
        'route web-shop: target: must be one of: "inventory", "webhook". Did you mean webhook?',
    ),
    "no package type": (
        default_text().replace('{ package_type = "welcome_package" }', "{ type = 'x' } # <-"),
        "route welcome-package: send: type: only package_type can be sent.",
        (
            "route welcome-package: send: package_type: is missing; it must have 1 to 64 letters, "
            "digits, or . _ -, as Inventory takes it"
        ),
    ),
    "a package type that Inventory refuses": (
        default_text()
        .replace('"welcome_package"', f'"{"x" * 65}"')
        .replace(" }\nundo", " } # <-\nundo"),
        (
            "route welcome-package: send: package_type: must have 1 to 64 letters, digits, or . _ "
            "-, as Inventory takes it"
        ),
    ),
    "nothing to send": (
        default_text().replace('{ package_type = "welcome_package" }', '"welcome" # <-'),
        'route welcome-package: send: must be a table, as in { package_type = "welcome_package" }',
    ),
    "a wrong place to start": (
        WEBHOOK + 'start_from = "begining" # <-',
        (
            'route web-shop: start_from: must be "beginning", "now", or a position of the feed, '
            "0 or more. Did you mean beginning?"
        ),
    ),
    "a negative position": (
        WEBHOOK + "start_from = -1 # <-",
        (
            'route web-shop: start_from: must be "beginning", "now", or a position of the feed, '
            "0 or more."
        ),
    ),
    "a position that is none": (
        WEBHOOK + "start_from = true # <-",
        (
            'route web-shop: start_from: must be "beginning", "now", or a position of the feed, '
            "0 or more."
        ),
    ),
    "an unknown order": (
        WEBHOOK + 'order = "subjects" # <-',
        'route web-shop: order: must be one of: "none", "subject". Did you mean subject?',
    ),
    "a path without quotes": (
        WEBHOOK + "unless = { data.welcome = false } # <-",
        (
            "route web-shop: unless: data: must be the path of a field in quotes, as in "
            '"data.company"; or type, subject, source.'
        ),
    ),
    "a path of nothing": (
        WEBHOOK + '[route.when]\n"data.a" = 1\n"dat.a" = 1 # <-',
        (
            'route web-shop: when: "dat.a": must be the path of a field in quotes, as in '
            '"data.company"; or type, subject, source. Did you mean data?'
        ),
    ),
    "conditions that are none": (
        WEBHOOK + 'when = "data.a" # <-',
        'route web-shop: when: must be a table, as in { "data.company" = "Example" }',
    ),
    "a condition with another word": (
        WEBHOOK + 'when = { "data.a" = { exists = true } } # <-',
        (
            'route web-shop: when: "data.a": must be { present = true } or { present = false }, if '
            "it is a table"
        ),
    ),
    "a condition of no value": (
        WEBHOOK + 'when = { "data.a" = [] } # <-',
        (
            'route web-shop: when: "data.a": must list one or more texts, numbers, true or false: '
            "any of them will do"
        ),
    ),
    "a condition on a date": (
        WEBHOOK + 'when = { "data.a" = 2026-01-05 } # <-',
        (
            'route web-shop: when: "data.a": must be a text, a number, true or false; write a date '
            "or a time in quotes"
        ),
    ),
    "a condition that never holds": (
        WEBHOOK + 'when = { "data.a" = nan } # <-',
        (
            'route web-shop: when: "data.a": must be a text, a number, true or false; write a date '
            "or a time in quotes"
        ),
    ),
    "too many secrets": (
        WEBHOOK.replace('"WEB_SHOP_SECRET"', '["A", "B", "C", "D", "E", "F"] # <-'),
        "route web-shop: secret: must list 1 to 5 names",
    ),
    "a secret twice": (
        WEBHOOK.replace('"WEB_SHOP_SECRET"', '["A", "A"] # <-'),
        "route web-shop: secret: names a secret twice",
    ),
    "another table": (
        WEBHOOK + "[[routes]] # <-",
        "routes: a file of routes holds only [[route]]. Did you mean route?",
    ),
    "one pair of brackets": (
        WEBHOOK.replace("[[route]]", "[route] # <-"),
        "route: write [[route]], in two pairs of brackets: there can be several",
    ),
    "a route that is no table": (
        "route = [1] # <-",
        "route: must be written as [[route]], with its keys in the lines below",
    ),
    "a key that is not TOML": (
        WEBHOOK + "start_from = # <-",
        "no valid TOML: Invalid value",
    ),
    "a text without an end": (
        WEBHOOK + "when = { # <-",
        "no valid TOML: Invalid initial character for a key part",
    ),
    "nothing": (
        "# <-",
        (
            "there is no route. `python -m integration_service routes default` prints a file to "
            "begin with"
        ),
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_names_its_line_its_key_and_the_way_out(wrong: tuple[str, ...]) -> None:
    text, *told = wrong
    lines = [n for n, line in enumerate(text.splitlines(), start=1) if line.endswith("<-")]
    lines *= len(told) // len(lines)

    assert mistakes(text) == [
        f"routes.toml:{line}: {one}" for line, one in zip(lines, told, strict=True)
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines() -> None:
    text = WEBHOOK.replace("customer.*", "customer.x").replace("https", "ftp") + "colour = 1\n"
    told = mistakes(text + "other = 2\n" + default_text().replace("route]]", "rout]]"))

    assert [one.partition(": ")[0] for one in told] == [
        *("routes.toml:3", "routes.toml:5", "routes.toml:7", "routes.toml:8", "routes.toml:11")
    ]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://shop.example.com", "must begin with https:// or http://"),
        ("shop.example.com", "must begin with https:// or http://"),
        ("https://me:s3cr3t@shop.example.com/", "must hold no user and password"),
        ("https://s3cr3t@shop.example.com/", "must hold no user and password"),
        ("https://shop.example.com/#s3cr3t", "must have no part behind a #"),
        ("https://shop.example.com:0/s3cr3t", "must be an address in ASCII"),
        ("https://shop.example.com:65536/s3cr3t", "must be an address in ASCII"),
        ("https:///s3cr3t", "must be an address in ASCII"),
        ("https://s3cr3t.exämple.com", "must be an address in ASCII"),
        ("https://shop.example.com/s3 cr3t", "must be an address in ASCII"),
        ("https://shop.example.com/s3cr3t\\n", "must be an address in ASCII"),
        ("https://shop.example.com\\\\s3cr3t", "must be an address in ASCII"),
        ("https://[1:2]/s3cr3t", "must have a valid host"),
        (f"https://shop.example.com/s3cr3t{'x' * 2000}", "must have at most 2000 characters"),
    ],
)
def test_an_address_that_can_not_be_called_is_refused_and_not_shown(url: str, told: str) -> None:
    [mistake] = mistakes(WEBHOOK.replace("https://shop.example.com/hooks/crm", url))

    assert mistake.startswith(f"routes.toml:5: route web-shop: url: {told}")
    assert "s3cr3t" not in mistake


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9000",
        "http://[::1]:65535/hooks",
        "https://shop.example.com?key=a@b/c",
        "https://a.b/~x/%20;v=1?x=y&z=%C3%A4",
    ],
)
def test_an_address_may_have_a_port_a_path_and_a_query(url: str) -> None:
    [route] = parse(WEBHOOK.replace("https://shop.example.com/hooks/crm", url))

    assert isinstance(route, WebhookRoute)
    assert route.url == url


@pytest.mark.parametrize(
    "secret",
    ['"whsec_s3cr3t"', '"S3CR3T-"', '["GOOD", "s3cr3t"]', '["GOOD", 3]', "3", '"1S3CR3T"', '""'],
)
def test_a_secret_itself_is_refused_and_not_shown(secret: str) -> None:
    [mistake] = mistakes(WEBHOOK.replace('"WEB_SHOP_SECRET"', secret))

    assert mistake.startswith(
        "routes.toml:6: route web-shop: secret: must be the name of a setting"
    )
    assert "s3cr3t" not in mistake.lower()


def test_what_a_file_holds_stays_in_one_line_of_a_message() -> None:
    key = '"a\\nINFO: forged \\u2028\\u0085 line"'

    [mistake] = mistakes(f"{WEBHOOK}{key} = 1\n")

    assert mistake.startswith('routes.toml:7: route web-shop: "a\\nINFO: forged ')
    assert len(mistake.splitlines()) == 1


def test_a_target_that_this_integration_has_not_is_refused() -> None:
    with pytest.raises(RoutesFileError, match='target: must be one of: "inventory"'):
        parse_routes(WEBHOOK, ["inventory"])


@pytest.mark.parametrize(("number", "is_accepted"), [(50, True), (51, False)])
def test_a_file_holds_at_most_fifty_routes(number: int, is_accepted: bool) -> None:
    text = "".join(WEBHOOK.replace("web-shop", f"shop-{n}") for n in range(number))

    if is_accepted:
        assert len(parse(text)) == number
    else:
        assert mistakes(text) == ["routes.toml:301: route: a file holds at most 50 routes"]


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "routes.toml").write_text(default_text(), "utf-8-sig")

    assert read_routes(tmp_path / "routes.toml", TARGETS).routes == (WELCOME,)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe4")
    for name, told in {
        "none": "No such file or directory",
        ".": "Is a directory",
        "latin": "it is no text in UTF-8",
    }.items():
        with pytest.raises(RoutesFileError) as error:
            read_routes(tmp_path / name, TARGETS)
        assert str(error.value) == f"{tmp_path / name}: can't be read: {told}"


@pytest.mark.parametrize(
    ("url", "is_told"),
    [
        ("http://shop.example.com/", True),
        ("http://8.8.8.8/", True),
        ("http://[2606:4700::1]/", True),
        ("https://shop.example.com/", False),
        ("http://localhost:9000", False),
        ("http://shop", False),
        ("http://shop.internal/", False),
        ("http://10.0.0.1/", False),
        ("http://127.0.0.1/", False),
        ("http://[::1]/", False),
    ],
)
def test_events_that_others_can_read_on_the_way_are_told_of(url: str, is_told: bool) -> None:
    text = WEBHOOK.replace("https://shop.example.com/hooks/crm", url)

    told = [str(one) for one in parse_routes(default_text() + text, TARGETS).insecure()]

    line = default_text().count("\n") + 5
    assert told == is_told * [
        (
            f"routes.toml:{line}: route web-shop: url: http:// to a public host: anybody on the "
            "way can read the events; use https://"
        )
    ]


@given(some_routes, st.sampled_from([inline, spread, in_tables]))
def test_whatever_a_route_says_is_read_as_it_was_written(routes: list[Route], write: Write) -> None:
    read = parse(text_of(routes, write))

    assert read == tuple(routes)
    assert hash_of(read) == hash_of(routes[::-1])
    again = parse(text_of(list(read), inline))
    assert hash_of(again) == hash_of(read)


REWRITTEN = WEBHOOK.replace(
    'on = ["customer.*", "ticket.status_changed"]\n',
    'order = "none" # the default\n\non = ["ticket.status_changed", "customer.*"]\n',
)


@pytest.mark.parametrize(
    ("text", "is_the_same"),
    [
        (REWRITTEN, True),
        (WEBHOOK.replace("web-shop", "web-shops"), False),
        (WEBHOOK.replace("customer.*", "customer.created"), False),
        (WEBHOOK.replace("/crm", "/"), False),
        (WEBHOOK.replace("WEB_SHOP_SECRET", "SHOP_SECRET"), False),
        (WEBHOOK + 'order = "subject"', False),
        (WEBHOOK + 'start_from = "now"', False),
        (WEBHOOK + 'when = { "data.a" = 1 }', False),
        (WEBHOOK + 'unless = { "data.a" = 1 }', False),
        (WEBHOOK + default_text(), False),
    ],
)
def test_the_hash_is_of_what_is_said_and_not_of_how(text: str, is_the_same: bool) -> None:
    assert (hash_of(parse(text)) == hash_of(parse(WEBHOOK))) is is_the_same


@given(st.text(st.sampled_from("[]{}=.,#\"'\n routename1-\\"), max_size=60))
def test_any_text_is_a_file_of_routes_or_has_mistakes_with_lines(text: str) -> None:
    for written in (text, WEBHOOK + text, f"[[route]]\nwhen = {text}", text + WEBHOOK):
        found: tuple[Mistake, ...] = ()
        try:
            parse(written)
        except RoutesFileError as error:
            found = error.mistakes
        assert all(1 <= one.line <= written.count("\n") + 1 for one in found)
