"""The command line: what it prints, and the exit codes that scripts go by."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration_service.commands import main
from integration_service.ledger import control
from integration_service.ledger import lease as leases
from integration_service.operations import printing
from integration_service.operations.schemas import Status
from integration_service.reconcile import comparison as comparing
from integration_service.reconcile import store as reconciliations
from integration_service.reconcile.schemas import CONFIRM_COMMAND
from service_kit.database import Database, open_database
from tests.conftest import ROOT, NewDatabase
from tests.integration_service.conftest import Ledger, Rows, change
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    answers,
    created,
    raises,
    refuses,
    refuses_each,
)
from tests.integration_service.webhooks import ReceiverDouble, of_routes, webhook


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Undo what a command does to the log of its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def ledger_url(new_ledger: str, pristine: Rows) -> str:
    """Give the URL of an empty ledger, to a test that runs no loop of its own."""

    async def restore() -> None:
        ledger = Ledger(new_ledger, pristine)
        await ledger.database.open()
        await ledger.restore()
        await ledger.database.close()

    asyncio.run(restore())
    return new_ledger


@pytest.fixture(autouse=True)
def _environment(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", ledger_url)
    monkeypatch.setenv("CRM_API_URL", "http://crm")
    monkeypatch.setenv("INVENTORY_API_URL", "http://inventory")


def at(url: str, work: Callable[[Database], Awaitable[Any]]) -> Any:
    """Do something with the database beside the commands."""

    async def run() -> Any:
        database = open_database(url)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def status(capsys: pytest.CaptureFixture[str]) -> Status:
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    return Status.model_validate_json(capsys.readouterr().out)


def test_run_once_reads_all_sends_all_and_exits_with_0(
    crm: CrmDouble,
    inventory: InventoryDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BATCH_SIZE", "2")
    crm.register("ada", "bob", "cid", "dan", "eve")

    assert main(["run-once"]) == 0

    assert inventory.owners == ["ada", "bob", "cid", "dan", "eve"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "feed        running, position 5 of 5"
    assert printed[1].startswith("deliveries  0 pending, 0 retrying, 5 delivered")
    assert printed[2:] == [
        "crm         answers",
        "inventory   answers",
        "poller      none is running",
    ]
    # It waits for nothing: there is nobody whom it would keep waiting.
    assert all("wait" not in look for look in crm.looks)


def test_run_once_again_sends_nothing_twice(crm: CrmDouble, inventory: InventoryDouble) -> None:
    crm.register("ada")
    assert main(["run-once"]) == 0
    assert main(["run-once"]) == 0
    crm.register("bob")
    assert main(["run-once"]) == 0

    assert inventory.batches == [["ada"], ["bob"]]


LEFTOVERS = {
    "inventory fails": (None, answers(429)),
    "inventory is not there": (None, answers(404)),
    "the crm fails": (answers(503), None),
    "the crm is not there": (raises(httpx.ConnectError("refused")), None),
}


@pytest.mark.parametrize(("crm_fault", "inventory_fault"), LEFTOVERS.values(), ids=LEFTOVERS)
def test_run_once_exits_with_1_when_something_is_left(
    crm: CrmDouble, inventory: InventoryDouble, crm_fault: Any, inventory_fault: Any
) -> None:
    crm.register("ada")
    crm.fault, inventory.fault = crm_fault, inventory_fault
    assert main(["run-once"]) == 1
    assert inventory.owners == []

    # In the next process the same is tried at once where time alone could not have helped.
    crm.fault = inventory.fault = None
    assert main(["run-once"]) in {0, 1}


def test_a_dead_delivery_is_not_left_over(
    crm: CrmDouble, inventory: InventoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.register("ada")
    inventory.fault = refuses_each(422, "invalid-request")

    assert main(["run-once"]) == 0
    assert status(capsys).deliveries["dead"] == 1


def test_run_once_refuses_while_another_polls(
    ledger_url: str,
    engine: str,
    crm: CrmDouble,
    inventory: InventoryDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock = leases.FileLock(ledger_url)
    lock.acquire()
    at(ledger_url, lambda database: database.write(leases.take, "other", 60, is_alone=True))

    assert main(["run-once"]) == 2

    assert "another process polls this database" in capsys.readouterr().err
    assert crm.requests == inventory.requests == []
    lock.release()


def test_run_once_says_so_when_another_takes_over(
    ledger_url: str, crm: CrmDouble, inventory: InventoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.register("ada")

    async def take_over(double: CrmDouble, request: httpx.Request) -> httpx.Response:
        database = open_database(ledger_url)
        await database.open()
        await database.write(leases.take, "other", 60, is_alone=True)
        await database.close()
        return double.carry_out(request)

    crm.fault = take_over

    assert main(["run-once"]) == 2
    assert "another process polls this database" in capsys.readouterr().err
    assert inventory.requests == []


def test_run_once_keeps_its_lease_for_as_long_as_it_takes(
    ledger_url: str, crm: CrmDouble, inventory: InventoryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_SIZE", "1")
    crm.register("ada", "bob", "cid")

    async def time_passes(_double: CrmDouble, request: httpx.Request) -> None:
        if "after" in request.url.params:
            database = open_database(ledger_url)
            await database.open()
            row = await database.read(control.state)
            assert row.lease_until.year > 2020
            await database.write(change, "UPDATE poller SET lease_until = '2020-01-01 00:00:00'")
            await database.close()

    crm.fault = time_passes  # type: ignore[assignment]

    assert main(["run-once"]) == 0
    assert inventory.owners == ["ada", "bob", "cid"]


def test_status_changes_nothing_and_needs_no_far_side(
    ledger_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = at(ledger_url, lambda database: database.read(control.state))

    assert main(["status"]) == 0

    assert capsys.readouterr().out.startswith("feed        running, position 0 of 0\n")
    assert at(ledger_url, lambda database: database.read(control.state)) == before


def test_status_says_what_is_wrong(
    crm: CrmDouble, inventory: InventoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.register("ada")
    inventory.fault = refuses(403, "scope-missing", "Ask for more.")
    main(["run-once"])
    capsys.readouterr()

    assert main(["status"]) == 0

    assert "inventory   can not be used: it answered 403: Ask for more." in capsys.readouterr().out


def test_status_as_json_is_what_the_api_answers(
    crm: CrmDouble, inventory: InventoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.register("ada")
    main(["run-once"])

    shown = status(capsys)

    assert shown.feed.position == shown.feed.head_position == 1
    assert shown.deliveries["delivered"] == 1
    assert shown.circuits["inventory"].state == "closed"
    assert shown.poller.holder is None


def test_status_names_who_polls(ledger_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    at(ledger_url, lambda database: database.write(leases.take, "me", 60, is_alone=True))

    assert main(["status"]) == 0

    assert "poller      me\n" in capsys.readouterr().out


def test_dead_letters_are_listed_and_retried(
    crm: CrmDouble, inventory: InventoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dead-letters"]) == 0
    crm.register("ada", "bob")
    inventory.fault = refuses_each(422, "invalid-request", "Not that one.")
    main(["run-once"])
    inventory.fault = None
    capsys.readouterr()

    assert main(["dead-letters"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{uid}  refused  it answered 422: Not that one." for uid in ("ada", "bob")
    ]
    assert main(["dead-letters", "--json"]) == 1
    assert [one["customer_uid"] for one in json.loads(capsys.readouterr().out)] == ["ada", "bob"]

    assert main(["retry", "ada", "nobody", "--dry-run"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "ada  dead"
    assert main(["retry", "ada"]) == 0
    assert capsys.readouterr().out == "ada  pending\n"
    assert main(["retry", "--error-class", "refused", "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 of 1 dead deliveries would be retried\nbob\n"
    assert main(["retry", "--limit", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["customer_uids"] == ["bob"]

    assert main(["run-once"]) == 0
    assert inventory.owners == ["ada", "bob"]
    assert main(["dead-letters"]) == 0


def test_reconcile_prints_what_is_wrong_and_exits_with_1_until_it_is_right(
    crm: CrmDouble,
    inventory: InventoryDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 0.0)
    crm.register("ada", "bob")
    main(["run-once"])
    capsys.readouterr()
    assert main(["reconcile"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("reconcile   2 customers, 2 package requests: 0 missing")

    del inventory.packages["bob", "welcome_package", 1]
    inventory.make({"customer_id": "zoe", "package_type": "welcome_package", "occurrence": 1})
    assert main(["reconcile", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [(one["kind"], one["customer_uid"]) for one in answer["findings"]] == [
        ("missing", "bob"),
        ("extra", "zoe"),
    ]
    assert answer["run"]["missing"] == answer["run"]["extra"] == 1

    assert main(["reconcile", "--repair"]) == 1
    assert "missing  bob  Inventory no longer has it" in capsys.readouterr().out
    main(["run-once"])
    assert inventory.owners == ["ada", "bob", "zoe"]


def test_what_repair_holds_back_is_shown_with_the_command_that_makes_it(
    crm: CrmDouble,
    inventory: InventoryDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 0.0)
    crm.register(*(f"c{n:02}" for n in range(30)))
    main(["run-once"])
    inventory.packages.clear()

    shown = f"held back   30 packages, until you run: {CONFIRM_COMMAND}"
    assert main(["reconcile", "--repair"]) == 1
    assert shown in capsys.readouterr().out.splitlines()
    crm.list_faults.append(answers(401))
    assert main(["reconcile"]) == 2
    capsys.readouterr()
    assert main(["status"]) == 0
    assert shown in capsys.readouterr().out.splitlines()
    main(["run-once"])
    assert inventory.owners == []

    assert main(["reconcile", "--confirm"]) == 2
    main(CONFIRM_COMMAND.split()[3:])
    main(["run-once"])
    assert len(inventory.owners) == 30


def test_reconcile_says_why_it_can_not(
    ledger_url: str, crm: CrmDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    crm.list_faults.append(answers(401))
    assert main(["reconcile"]) == 2
    assert "a remote service can't be used: it answered 401" in capsys.readouterr().err

    at(
        ledger_url,
        lambda database: database.write(reconciliations.begin, "timer", repair=True),
    )
    assert main(["reconcile"]) == 2
    assert "another comparison runs" in capsys.readouterr().err


def test_on_a_terminal_there_are_tables(
    crm: CrmDouble,
    inventory: InventoryDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crm.register("ada")
    inventory.fault = refuses_each(422, "invalid-request", "[bold]Not that one.")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    main(["run-once"])
    capsys.readouterr()

    assert main(["dead-letters"]) == 1
    shown = capsys.readouterr().out
    assert "customer" in shown
    assert "[bold]Not that one." in shown  # it is no mark-up
    assert main(["reconcile"]) == 1
    assert "its delivery is dead" in capsys.readouterr().out


def test_without_a_terminal_progress_is_a_line_for_so_many(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with printing.progress() as progress:
        for number in (1, 9_999, 10_000, 10_500, 19_999, 20_000, 35_000):
            progress("customers", number)

    shown = ["10000 customers", "20000 customers", "35000 customers"]
    assert capsys.readouterr().err.splitlines() == shown


@pytest.mark.parametrize("command", ["run-once", "status"])
def test_a_database_that_was_never_migrated_is_refused_in_words(
    new_database: NewDatabase,
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = new_database("integration_service")
    at(url, lambda database: database.write(change, "DELETE FROM alembic_version"))
    monkeypatch.setenv("DATABASE_URL", url)

    assert main([command]) == 2

    assert "migrate" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run-once", "status"])
def test_a_database_that_is_not_there_is_refused_in_words(
    engine: str,
    ledger_url: str,
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    (tmp_path / "folder").mkdir()
    elsewhere = (
        f"sqlite:///{tmp_path}/folder"
        if engine == "sqlite"
        else f"postgresql://postgres@/nothing?host={tmp_path}"
    )
    monkeypatch.setenv("DATABASE_URL", elsewhere)

    assert main([command]) == 2

    assert "the database can't be used" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run-once", "status", "dead-letters", "retry", "reconcile"])
def test_a_wrong_setting_is_named(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_API_URL", "localhost")

    assert main([command]) == 2

    assert "CRM_API_URL" in capsys.readouterr().err


class FarSides(BaseHTTPRequestHandler):
    """Both far sides on a real port, each of one answer."""

    def do_GET(self) -> None:
        crm = CrmDouble()
        crm.publish(created("ada"))
        self.answer(crm.page(0, 1))

    def do_POST(self) -> None:
        items = json.loads(self.rfile.read(int(self.headers["content-length"])))
        inventory = InventoryDouble()
        self.answer([inventory.make(item) for item in items])

    def answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.slow
@pytest.mark.engine("sqlite")  # a process takes its time to start
def test_a_process_of_its_own_does_it_over_the_wire(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), FarSides) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("CRM_API_URL", address)
        monkeypatch.setenv("INVENTORY_API_URL", address)
        done = subprocess.run(
            [sys.executable, "-m", "integration_service", "run-once"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        server.shutdown()

    assert done.returncode == 0, done.stderr
    assert "1 delivered" in done.stdout
    assert "INFO: Found new customer: Customer ada (ID: ada)" in done.stderr
    assert "INFO: Successfully created package request for customer ID: ada" in done.stderr


@pytest.fixture
def shop_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    """Have a file with one route, to a webhook, and three events that it has reported."""
    monkeypatch.setenv("ROUTES_FILE", str(of_routes(tmp_path, webhook())["routes_file"]))
    monkeypatch.setenv("WEBHOOK_ALLOW_PRIVATE", "true")
    crm.register("ada", "bob", "cid")
    assert main(["run-once"]) == 0


def test_reconcile_names_the_events_that_a_webhook_was_not_owed(
    shop_alone: None,
    ledger_url: str,
    crm: CrmDouble,
    shop: ReceiverDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = ("DELETE FROM attempts", "DELETE FROM deliveries WHERE sequence = 2")
    capsys.readouterr()
    assert main(["reconcile", "--route", "shop"]) == 0
    assert capsys.readouterr().out == (
        "reconcile   3 events through position 3: 0 missing, 0 enqueued\n"
    )
    at(ledger_url, lambda database: database.write(change, *lost))

    assert main(["reconcile", "--route", "shop", "--repair", "--json"]) == 1

    printed = json.loads(capsys.readouterr().out)
    [missing] = printed["missing"]
    assert (missing["position"], missing["subject"]) == (2, "bob")
    assert printed["run"] == {
        "route": "shop",
        "through_position": 3,
        "events": 3,
        "missing": 1,
        "repaired": 1,
    }
    assert main(["run-once"]) == 0
    assert shop.sequences.count(2) == 2
    assert main(["reconcile", "--route", "shop"]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--route", "store"], "there is no route store to a webhook"),
        (["--route", "shop", "--repair", "--confirm"], "--confirm is for packages"),
    ],
    ids=["unknown", "confirm"],
)
def test_reconcile_refuses_what_no_webhook_has(
    shop_alone: None, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["reconcile", *options]) == 2

    assert words in capsys.readouterr().err
