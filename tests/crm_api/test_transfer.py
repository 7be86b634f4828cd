"""Customers out of CSV files and into them, as an operator does it, beside a CRM at work."""

import asyncio
import csv
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crm_api.transfer.table import cell_of, cells_of, check, lines, value_of
from tests.conftest import ROOT
from tests.crm_api.conftest import app_of, numbered, read_feed, register, run

pytestmark = pytest.mark.usefixtures("log_as_before")

HEADER = "name,email,company,phone,external_ref,metadata.plan"
Write = Callable[..., str]


@pytest.fixture
async def desk(crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """An empty CRM whose database is that of the environment."""
    monkeypatch.setenv("DATABASE_URL", app_of(crm).state.settings.database_url)
    return crm


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of these lines, below a header. Returns its name."""

    def written(*rows: str, header: str = HEADER, encoding: str = "utf-8") -> str:
        path = tmp_path / "customers.csv"
        path.write_bytes("\n".join((header, *rows, "")).encode(encoding))
        return str(path)

    return written


async def everybody(crm: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    url = "/api/customers?limit=500"
    while url:
        page = await crm.get(url)
        found += page.json()
        url = str(page.links.get("next", {}).get("url", ""))
    return found


async def told(crm: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Read the whole feed."""
    page = await read_feed(crm, limit=500)
    events = page["events"]
    while page["has_more"]:
        page = await read_feed(crm, limit=500, after=page["next_cursor"])
        events += page["events"]
    return list(events)


def report_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text())))


FULL = 'Jane Doe,jane@example.com,"Doe, Ltd",\'+44 20,s-1,basic'


async def test_a_variable_may_name_the_file(
    desk: httpx.AsyncClient,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await run("import-customers") == 2
    assert "Name one, or - for standard input, or set CSV_FILE_PATH" in capsys.readouterr().err

    monkeypatch.setenv("CSV_FILE_PATH", write(FULL))
    assert await run("import-customers") == 0
    assert [one["name"] for one in await everybody(desk)] == ["Jane Doe"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
async def test_each_line_becomes_a_customer(
    desk: httpx.AsyncClient, write: Write, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(FULL, "", "Jürgen,jürgen@example.com,,,,", encoding=encoding)

    assert await run("import-customers", file) == 0

    jane, juergen = sorted(await everybody(desk), key=lambda one: one["name"])
    assert jane | {"name": "Jane Doe", "company": "Doe, Ltd", "phone": "+44 20"} == jane
    assert (jane["external_ref"], jane["metadata"]) == ("s-1", {"plan": "basic"})
    assert (juergen["company"], juergen["metadata"]) == (None, {})
    out, err = capsys.readouterr()
    assert out.startswith("2 created, 0 updated, 0 already there, 0 refused.\n")
    assert "that it causes: 2." in out
    assert "lines: 2 of 2\n" in err
    run_id = out.split()[-1]
    audit = (await desk.get("/api/audit")).json()
    assert [(one["actor"], one["request_id"]) for one in audit] == [
        ("import-customers", run_id)
    ] * 3
    assert [one["action"] for one in audit] == ["customer.created"] * 2 + ["customers.imported"]
    assert audit[2]["subject"] == "2 lines"
    assert all("welcome" not in event["data"] for event in await told(desk))


async def test_what_can_not_be_taken_is_told_by_line_and_field_and_never_by_value(
    desk: httpx.AsyncClient, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await register(desk, 1)
    file = write(
        FULL,
        ",secret@@example.com,,,,",
        '"two\nlines",b@example.com,,,,',
        "short,row",
        f"Thief,{numbered(1)['email']},,,s-9,",
        f"Long,l@example.com,,,,{'secret' * 100}",
        "Fine,fine@example.com,,,,",
    )
    report = tmp_path / "report.csv"

    assert await run("import-customers", file, "--report", str(report)) == 1

    columns, *rows = report_of(report)
    assert columns == [*HEADER.split(","), "line", "reason"]
    assert [row[-2] for row in rows] == ["3", "4", "6", "7", "8"]
    assert rows[0][:2] == ["", "secret@@example.com"]
    assert re.fullmatch("name: [^;]+; email: is no e-mail address", rows[0][-1])
    assert rows[1][:2] == ["two\nlines", "b@example.com"]
    assert rows[2] == ["short", "row", "", "", "", "", "6", "all: 2 cells where the header has 6"]
    out, err = capsys.readouterr()
    assert out.startswith("2 created, 0 updated, 0 already there, 5 refused.")
    assert "line 6, all: 2 cells where the header has 6" in err
    assert "secret" not in out + err
    assert report.stat().st_mode & 0o777 == 0o600


async def test_taking_a_file_in_again_changes_only_what_the_file_says(
    desk: httpx.AsyncClient, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(FULL, "John,john@example.com,,,,")
    await run("import-customers", file)
    await desk.patch("/api/customers/1", json={"metadata": {"plan": "basic", "other": "kept"}})
    before = len(await told(desk))

    assert await run("import-customers", file) == 0
    assert "0 created, 0 updated, 2 already there" in capsys.readouterr().out
    assert len(await told(desk)) == before

    # By its external_ref in the columns that there are; by its address alone it is left as it is.
    rows = ("Jane Roe,roe@example.com,s-1", "Johnny,JOHN@example.com,")
    again = write(*rows, header="name,email,external_ref")
    assert await run("import-customers", again) == 0
    assert "0 created, 1 updated, 1 already there" in capsys.readouterr().out
    jane, john = sorted(await everybody(desk), key=lambda one: one["name"])
    assert (jane["name"], jane["email"], jane["company"]) == (
        "Jane Roe",
        "roe@example.com",
        "Doe, Ltd",
    )
    assert jane["metadata"] == {"plan": "basic", "other": "kept"}
    assert john["name"] == "John"


SIX_PEOPLE = [f"P{n},p{n}@example.com,,,'=one-ref," for n in range(6)]
REPEATING = (
    "A,info@bücher.example.com,,,,",  # 2
    "Alone,alone@example.com,,,ref-1,",
    SIX_PEOPLE[0].replace("'=", "="),  # 4, the same without an apostrophe
    *SIX_PEOPLE[1:],  # to 9
    "B,INFO@xn--bcher-kva.example.com,,,ref-2,",  # 10
    ",c@example.com,,,ref-3,",
    "Other,other@example.com,,,,",
    "C,C@example.com,,,ref-4,",  # 13
    "D,d@example.com,,,ref-3,",
    "short,row",
    "short,row",
)


@pytest.mark.parametrize("size", ["1", "3", "200"])
async def test_a_reference_or_an_address_that_stands_in_a_file_twice_is_nobodys(
    desk: httpx.AsyncClient, write: Write, size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(*REPEATING)
    expected = "2 created, 0 updated, 0 already there, 13 refused."

    assert await run("import-customers", file, "--dry-run", "--chunk-size", size) == 1
    out, foretold = capsys.readouterr()
    nothing, packages = out.splitlines()
    assert nothing == f"Nothing was written. It would be: {expected}"
    assert packages == "Welcome packages that it would cause: 2."
    assert await everybody(desk) == []

    assert await run("import-customers", file, "--chunk-size", size) == 1
    out, err = capsys.readouterr()
    assert out.startswith(expected)
    assert sorted(one["name"] for one in await everybody(desk)) == ["Alone", "Other"]
    for line, other in ((4, 5), (5, 4), (9, 4)):
        assert f"line {line}, external_ref: is also on line {other}\n" in err
    for line, other in ((2, 10), (10, 2), (11, 13), (13, 11)):
        assert f"line {line}, email: is also on line {other}\n" in err
    assert "line 14, external_ref: is also on line 11\n" in err
    assert "line 11, name: " in err
    for told in (foretold, err):
        assert "one-ref" not in told

    assert await run("import-customers", file, "--dry-run", "--no-welcome") == 1
    assert "cause: 0." in capsys.readouterr().out


async def test_a_refusal_names_the_line_whose_address_is_anothers(
    desk: httpx.AsyncClient, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("import-customers", write(FULL, "John,john@example.com,,,s-2,"))
    rows = (
        "New,new@example.com,,,s-9,",
        "Jane,john@example.com,,,s-1,",
        "Other,JANE@example.com,,,s-3,",
    )
    file = write(*rows)

    for options in (["--dry-run"], []):
        capsys.readouterr()
        assert await run("import-customers", file, *options) == 1
        out, err = capsys.readouterr()
        assert "1 created, 0 updated, 0 already there, 2 refused" in out
        refused = [line.partition(": ")[0] for line in err.splitlines() if "belongs to" in line]
        assert refused == ["line 3, email", "line 4, email"]


async def test_a_report_is_corrected_and_imported_again_until_nothing_is_refused(
    desk: httpx.AsyncClient, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(FULL, *SIX_PEOPLE, ",nameless@example.com,,,,", "One,more@example.com,,,,,cell")
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"

    assert await run("import-customers", file, "--report", str(first)) == 1
    assert await run("import-customers", str(first), "--report", str(second)) == 1
    columns, *rows = report_of(second)
    assert columns == [*HEADER.split(","), "line", "reason"]
    assert [row[:6] for row in rows] == [row[:6] for row in report_of(first)[1:]]
    assert [row[6] for row in rows] == [str(number) for number in range(2, 10)]
    assert rows[-1][8:] == ["cell"], "nothing of a row is lost"

    for number, row in enumerate(rows):
        row[0] = row[0] or "Named"
        row[4] = f"ref-{number}"
        del row[8:]
    with second.open("w", newline="") as corrected:
        csv.writer(corrected).writerows([columns, *rows])
    capsys.readouterr()

    assert await run("import-customers", str(second), "--report", str(first)) == 0
    assert capsys.readouterr().out.startswith("8 created, 0 updated, 0 already there, 0 refused.")
    assert report_of(first) == [columns]
    assert len(await everybody(desk)) == 9
    assert all(one["metadata"].keys() <= {"plan"} for one in await everybody(desk))

    before = second.read_text()
    assert await run("import-customers", str(second), "--report", str(second)) == 2
    assert "--report would overwrite" in capsys.readouterr().err
    assert second.read_text() == before


@pytest.mark.parametrize("way", ["-", "pipe"])
async def test_a_file_may_come_through_a_pipe(
    desk: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    way: str,
) -> None:
    async def give(content: bytes) -> int:
        if way == "-":
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
            return await run("import-customers", "-")
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writing = asyncio.create_task(asyncio.to_thread(pipe.write_bytes, content))
        code = await run("import-customers", str(pipe))
        await writing
        pipe.unlink()
        return code

    content = f"{HEADER}\n{FULL}\nJohn,john@example.com,,,,".encode()

    assert await give(content) == 0
    assert capsys.readouterr().out.startswith("2 created")
    assert len(await everybody(desk)) == 2
    assert await give(b"name;email\n") == 2
    name = "standard input" if way == "-" else f"{tmp_path}/pipe"
    assert f"{name}: unknown column" in capsys.readouterr().err


async def test_no_welcome_is_told_to_the_feed_and_to_who_asks_the_list(
    desk: httpx.AsyncClient, write: Write
) -> None:
    assert await run("import-customers", write(FULL), "--no-welcome") == 0

    [event] = await told(desk)
    assert (event["type"], event["data"]["welcome"]) == ("customer.created", False)
    answer = await desk.post("/api/customers", json={"name": "A", "email": "a@example.com"})
    wanted = {
        welcome: [one["uid"] for one in (await desk.get("/api/customers", params=query)).json()]
        for welcome, query in (
            (True, {"welcome": "true", "limit": 500}),
            (False, {"welcome": "false", "limit": 500}),
        )
    }
    assert wanted == {True: [answer.json()["uid"]], False: [event["subject"]]}


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"name,email,colour\n", "unknown column: 'colour'. Known are name, email,"),
        (b"name,email,metadata.\n", "unknown column: 'metadata.'"),
        (b"name,email,\n", "unknown column: ''"),
        (b"name,email,a,b,c,d,e\n", "unknown columns: 'a', 'b', 'c' and 2 more."),
        (
            b"name,email,\x1b[31m" + b"x" * 99 + b"\n",
            "unknown column: '\\x1b[31m" + "x" * 35 + "'.",
        ),
        (b"Name;Email\n", "'Name;Email'. The file is separated by semicolons; save it with commas"),
        (b"name\temail\n", "The file is separated by tabs; save it with commas"),
        (b"Jane,jane@example.com\n", "customers.csv: its first line must name the columns; it"),
        (b"name,company\n", "does not name email"),
        (b"name,email,name\n", "names twice: name"),
        (b"name,email\nA,a@example.com\n\xff\n", "line 3 is not UTF-8"),
        (b"name,email\nA,a@example.com\nB\xc3", "line 3 is not UTF-8"),
        (b'name,email\nA,a@example.com\n"B"x,b\n', "line 3 is not CSV"),
        (b'name,email\nA,a@example.com\n"B,b\n', "line 3 is not CSV"),
        (b"name,email\nA," + b"x" * 200_000 + b"\n", "line 2 is not CSV"),
        (b"name,email\nA,a@example.com\n" + b"," * 300_000, "line 3 is not CSV: it is longer"),
        (None, "No such file"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_file_that_is_no_table_is_refused_before_its_first_line_is_taken(
    desk: httpx.AsyncClient,
    tmp_path: Path,
    content: bytes | None,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "customers.csv"
    if content is not None:
        path.write_bytes(content)

    assert await run("import-customers", str(path)) == 2

    assert reason in capsys.readouterr().err
    assert await everybody(desk) == []


async def test_a_call_that_can_not_work_says_why(
    desk: httpx.AsyncClient,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write(FULL)
    for size in ("0", "-1", "2001", "many"):
        assert await run("import-customers", file, "--chunk-size", size) == 2
    nowhere = str(tmp_path / "no" / "such" / "folder.csv")
    assert await run("import-customers", file, "--report", nowhere) == 2
    assert await run("export-customers", nowhere) == 2
    assert nowhere in capsys.readouterr().err
    assert await everybody(desk) == []

    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    for command in ("import-customers", "export-customers"):
        assert await run(command, file) == 2
        assert "python -m crm_api migrate" in capsys.readouterr().err
    assert report_of(Path(file))[0] == HEADER.split(","), "a failed export leaves what was there"


async def test_what_is_exported_can_be_imported_again(
    desk: httpx.AsyncClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = [
        {"name": "=1+1", "email": "+a@example.com", "phone": "-1", "company": "@x"},
        {"name": "'=quoted", "email": "b@example.com", "company": "'plain"},
        {"name": 'Comma, "quote"', "email": "c@example.com", "metadata": {"=k": "=v", "a,b": "ß"}},
        {"name": "Erased", "email": "d@example.com"},
        {
            "name": "Doe;=1+1",
            "email": "e@example.com",
            "company": '\uff1d1;"@x"|\u3000-2, \'+3',
            "metadata": {"a;=b": "\uff20c"},
        },
    ]
    for number, person in enumerate(people):
        body = {**person, "external_ref": f"ref-{number}"}
        assert (await desk.post("/api/customers", json=body)).status_code == 201
    await desk.delete("/api/customers/4")
    before = await everybody(desk)
    file = tmp_path / "out.csv"

    assert await run("export-customers", str(file)) == 0
    assert await run("export-customers") == 0
    assert capsys.readouterr().out == file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    cells = [cell for row in report_of(file) for cell in row]
    assert "Doe;'=1+1" in cells
    assert "metadata.a;'=b" in cells
    assert formulas(file.read_text()) == []
    assert "Erased" not in cells

    assert await run("import-customers", str(file)) == 0
    assert "0 created, 0 updated, 4 already there" in capsys.readouterr().out
    for number in (1, 2, 3, 5):
        await desk.delete(f"/api/customers/{number}")
    assert await run("import-customers", str(file)) == 0
    after = [one for one in await everybody(desk) if one["email"]]
    kept = ("name", "email", "phone", "company", "external_ref", "metadata")
    by_ref = sorted(([one[name] for name in kept] for one in after), key=lambda row: str(row[4]))
    assert by_ref == [[one[name] for name in kept] for one in before if one["email"]]


def formulas(text: str) -> list[str]:
    """Find what a spreadsheet would run, whichever separator its country has."""
    cells = [
        cell
        for separator in (",", ";", "\t", "|")
        for row in csv.reader(text.splitlines(), delimiter=separator)
        for part in row
        for cell in part.split(separator)
    ]
    return [cell for cell in cells if cell.lstrip(' "\xa0\u3000').startswith(tuple(BEGINNINGS))]


BEGINNINGS = "=+-@\uff1d\uff0b\uff0d\uff20\t\r"
CELL = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=9
)


@given(value=st.text(st.sampled_from(f"{BEGINNINGS}';,|\"\n x"), max_size=12))
@example(value='x;"=1')
@example(value="\t=1")
@example(value=";'';\t'=")
def test_no_part_of_a_cell_is_a_formula_and_reading_brings_it_back(value: str) -> None:
    written = cell_of(value)

    assert not re.search(f'(^|[;,|\t\r\n])[ "]*[{re.escape(BEGINNINGS)}]', written)
    assert value_of(written) == value.strip()


@given(name=st.one_of(CELL, st.from_regex(r"'*[=+\-@';,]+x?", fullmatch=True)))
def test_a_cell_is_read_as_it_was_written(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Row:
        metadata: dict[str, str] = {}

    Row.name = f"{name}."  # type: ignore[attr-defined]
    path = tmp_path_factory.getbasetemp() / "one.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "email"])
        rows.writerow([*cells_of(Row, ["name"]), "a@example.com"])  # type: ignore[arg-type]

    header, number = check(path)
    [line] = lines(path, header)

    assert number == 1
    assert line.customer is not None
    assert line.customer.name == f"{name}.".strip()


async def test_two_imports_of_one_file_at_once_make_each_customer_once(
    desk: httpx.AsyncClient, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(*(f"P,p{n}@example.com,,,{f'ref-{n}' if n % 2 else ''}," for n in range(120)))

    codes = await asyncio.gather(
        *(run("import-customers", file, "--chunk-size", size) for size in ("7", "11"))
    )

    assert codes == [0, 0]
    assert len(await everybody(desk)) == 120
    assert [event["type"] for event in await told(desk)] == ["customer.created"] * 120
    counts = re.findall(r"(\d+) created, 0 updated, (\d+) already", capsys.readouterr().out)
    assert [sum(map(int, column)) for column in zip(*counts, strict=True)] == [120, 120]


@pytest.mark.slow
async def test_an_import_that_is_killed_goes_on_when_it_is_run_again(
    desk: httpx.AsyncClient, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 1200
    refs: Iterable[str] = (f"ref-{n}" if n % 2 else "" for n in range(number))
    file = write(*(f"P,p{n}@example.com,,,{ref}," for n, ref in enumerate(refs)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crm_api", "import-customers", file, "--chunk-size", "4"),
        cwd=ROOT,
        env={**os.environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    # Meanwhile the CRM is at work on the same database, and nobody is made to wait for long.
    others = 0
    async with asyncio.timeout(40):
        while (await desk.get("/api/customers", params={"q": "p99@"})).json() == []:
            others += 1
            made = await desk.post("/api/customers", json=numbered(others))
            assert made.status_code == 201
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    taken = len(await everybody(desk)) - others
    assert 100 <= taken < number
    assert taken % 4 == 0, "whole chunks"

    assert await run("import-customers", file) == 0

    out = capsys.readouterr().out
    assert f"{number - taken} created, 0 updated, {taken} already there, 0 refused." in out
    addresses = [one["email"] for one in await everybody(desk)]
    assert len(addresses) == len(set(addresses)) == number + others
    created = [event["subject"] for event in await told(desk)]
    assert len(created) == len(set(created)) == number + others


@pytest.mark.slow
async def test_progress_is_a_bar_on_a_terminal(desk: httpx.AsyncClient, write: Write) -> None:
    main, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crm_api", "import-customers", write(FULL)),
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        stdout=asyncio.subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    async with asyncio.timeout(40):
        out, _ = await process.communicate()
    shown = os.read(main, 1 << 16).decode()
    os.close(main)

    assert out.startswith(b"1 created")
    assert "\x1b[" in shown
    assert re.search(r"━.*1/1", shown)
