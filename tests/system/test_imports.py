"""A CRM that is killed in the middle of an import: it is seen, and the file can be sent again."""

import signal
from typing import Any

import httpx
import pytest

from tests.conftest import bearer
from tests.crm_api.imports import CSV, IMPORTS, rows, table
from tests.sweeps import sample
from tests.system.processes import status_of, until
from tests.system.stack import Stack

ROWS = 1500
FILE = table(*rows(*range(ROWS)), "Nobody,not-an-address,")
MEBIBYTE = 1024 * 1024


def send(stack: Stack, content: Any) -> httpx.Response:
    url = f"{stack.crm.url}{IMPORTS}"
    return stack.client.post(url, content=content, headers={**CSV, **bearer("admin123")})


# Each third one is another end of each engine.
ENDS = [
    pytest.param("sqlite", signal.SIGKILL, id="sqlite-killed"),
    pytest.param("sqlite", signal.SIGTERM, id="sqlite-stopped"),
    pytest.param("postgresql", signal.SIGKILL, id="postgresql-killed"),
    pytest.param("postgresql", signal.SIGTERM, id="postgresql-stopped"),
]


def look(stack: Stack, import_id: int) -> dict[str, Any]:
    url = f"{stack.crm.url}{IMPORTS}/{import_id}"
    found: dict[str, Any] = stack.client.get(url, headers=bearer("admin123")).json()
    return found


@pytest.mark.sweep
@pytest.mark.parametrize(("engine", "number"), sample(ENDS, every=3), indirect=["engine"])
def test_an_import_that_is_cut_short_is_sent_again_and_nobody_is_there_twice(
    stack: Stack, number: signal.Signals
) -> None:
    stack.crm.constants["crm_api.imports.runner:WATCH_SECONDS"] = 0.1
    stack.crm.constants["crm_api.imports.runner:BEAT_SECONDS"] = 0.2
    # Longer than a process takes between two beats on a busy machine.
    stack.crm.constants["crm_api.imports.runner:SILENT_SECONDS"] = 6
    stack.crm.restart()
    assert send(stack, FILE).status_code == 202
    until(lambda: look(stack, 1)["rows_read"], "some rows are imported")

    stack.crm.end(number)
    there = stack.crm.rows("SELECT email FROM customers")
    stack.crm.restart()

    until(lambda: look(stack, 1)["state"] == "interrupted", "it is seen")
    cut_short = look(stack, 1)
    assert 0 < cut_short["created"] == cut_short["rows_read"] == len(there) < ROWS
    assert send(stack, FILE).status_code == 202
    until(lambda: look(stack, 2)["state"] != "running", "it is imported again")
    again = look(stack, 2)
    assert (again["state"], again["refused"], again["unchanged"]) == ("finished", 1, len(there))
    assert again["created"] + cut_short["created"] == ROWS
    emails = stack.crm.rows("SELECT email FROM customers")
    assert len(set(emails)) == len(emails) == ROWS
    assert stack.crm.rows("SELECT count(*) FROM events") == [(ROWS,)]


@pytest.mark.long
@pytest.mark.engine("sqlite")
def test_a_file_as_large_as_it_may_be_costs_no_memory(stack: Stack) -> None:
    stack.crm.restart()
    before = peak_memory(stack.crm.pid)
    wide = f"Nobody,not-an-address,{'x' * 8000}\n"
    lines = 50 * MEBIBYTE // len(wide) - 1

    answer = send(stack, "name,email,external_ref\n" + wide * lines)

    assert answer.status_code == 202, answer.text
    until(lambda: look(stack, 1)["state"] != "running", "it is imported", seconds=300)
    found = look(stack, 1)
    assert (found["state"], found["refused"], found["bytes"] > 49 * MEBIBYTE) == (
        "finished",
        lines,
        True,
    )
    report = 0
    url = f"{stack.crm.url}{IMPORTS}/1/report"
    with stack.client.stream("GET", url, headers=bearer("admin123")) as download:
        for piece in download.iter_bytes():
            report += len(piece)
    assert report > found["bytes"], "all of it was refused"
    assert peak_memory(stack.crm.pid) - before < 60 * MEBIBYTE


def peak_memory(pid: int) -> int:
    return int(status_of(pid)["VmHWM"].removesuffix(" kB")) * 1024
