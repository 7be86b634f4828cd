"""A database moves to the other engine with everything, and is never at two places at once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, literal_column, select, text

from service_kit.database.copies import moving
from service_kit.database.copies.connections import on_postgres
from service_kit.database.copies.counters import never_reuses
from service_kit.database.copies.files import reading
from service_kit.database.moved import place_of
from tests.conftest import SERVICES, NewDatabase, run_sql
from tests.copies.conftest import Elsewhere, Run
from tests.copies.rows import Copied, path_of

pytestmark = pytest.mark.slow

each_service = pytest.mark.parametrize("service", SERVICES)


class Broken(Exception):
    """The move ends here, as if it was killed."""


@each_service
def test_rows_and_counters_move_and_the_source_names_the_new_place(
    service: str, new_database: NewDatabase, elsewhere: Elsewhere, run: Run
) -> None:
    one, source, target = Copied(service), new_database(service), elsewhere()
    one.fill(source)
    before, given = one.digests(source), one.counters(source)

    ran = run(service, source, "move", "--to", target)

    assert ran.code == 0, ran.err
    assert ran.out == f"Moved to {place_of(target)}; set DATABASE_URL to it.\n"
    assert one.digests(target) == before
    found = one.counters(target)
    for table in one.contents.tables:
        if never_reuses(table):
            assert found[table.name] == given[table.name], table.name
    assert run(service, target, "migrate").code == 0
    for command in (("migrate",), ("backup", "/tmp/none.db")):  # noqa: S108 (it is never made)
        refused = run(service, source, *command)
        assert refused.code != 0
        assert f"It was moved to {place_of(target)} on 20" in refused.err
        assert "DATABASE_URL must name that." in refused.err


def test_more_rows_move_than_are_read_at_once(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run, monkeypatch: Any
) -> None:
    one, source, target = Copied("crm_api"), new_database("crm_api"), elsewhere()
    one.fill(source, 60)
    before = one.digests(source)
    monkeypatch.setattr(moving.rows, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr("crm_api.search._REBUILT_AT_ONCE", 7)

    assert run("crm_api", source, "move", "--to", target).code == 0

    filled = {found.rows for name, found in before.items() if name != "production"}
    assert filled == {1, 60}
    assert one.digests(target) == before
    for index in ("customer_search", "ticket_search"):
        assert texts_in(one, target, index) == texts_in(one, source, index) != []


def texts_in(one: Copied, url: str, index: str) -> list[Any]:
    query = select(literal_column("rowid"), literal_column("text")).select_from(text(index))

    def work(db: Connection) -> list[Any]:
        return sorted(tuple(row) for row in db.execute(query))

    return on_either(one, url, work)


def on_either(one: Copied, url: str, work: Callable[[Connection], Any]) -> Any:
    """Read a database that may be marked as moved."""
    if url.startswith("sqlite:"):
        with reading(path_of(url)) as db:
            return work(db)
    return on_postgres(one.migrations, url, work)


def test_a_place_is_told_without_its_password() -> None:
    urls = {
        "postgresql://ann:s3cret@db.example.com:5433/crm?password=s3cret&sslmode=require": (
            "postgresql://ann@db.example.com:5433/crm"
        ),
        "postgres://ann:s3cret@/crm?host=/run/pg": "postgresql://ann@/crm?host=%2Frun%2Fpg",
        "postgresql+psycopg://ann:s3cret@db/crm": "postgresql+psycopg://ann@db/crm",
        "postgresql://ann:s3cret@a:5433,b/crm?password=s3cret": "postgresql://ann@a:5433,b/crm",
        "sqlite:////data/crm.db": "sqlite:////data/crm.db",
    }
    for url, place in urls.items():
        assert place_of(url) == place


# Where a move may end: in the middle of the rows, before the target is committed, before the source
# is, and before the target's mark is taken away.
BREAKS = {
    "rows.copy": ("copy", False),
    "set_mark, of the target": ("set_mark", False),
    "set_mark, of the source": ("set_mark", True),
    "drop_mark": ("drop_mark", False),
}


def break_at(monkeypatch: Any, place: str) -> Callable[[], None]:
    """Let the next move end at a place. Returns what undoes that."""
    name, is_second = BREAKS[place]
    owner = moving.rows if name == "copy" else moving
    real, calls = getattr(owner, name), 0

    def ending(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == (2 if is_second else 1):
            raise Broken(place)
        return real(*arguments)

    monkeypatch.setattr(owner, name, ending)

    def undo() -> None:
        assert calls
        monkeypatch.setattr(owner, name, real)

    return undo


@pytest.mark.parametrize("place", BREAKS)
def test_a_move_that_broke_is_run_again(
    place: str, new_database: NewDatabase, elsewhere: Elsewhere, run: Run, monkeypatch: Any
) -> None:
    one, source, target = Copied("crm_api"), new_database("crm_api"), elsewhere()
    one.fill(source)
    before = one.digests(source)
    undo = break_at(monkeypatch, place)

    with pytest.raises(Broken):
        run("crm_api", source, "move", "--to", target)
    undo()

    usable = [url for url in (source, target) if is_usable(run, url)]
    assert usable == ([] if place == "drop_mark" else [source])
    assert run("crm_api", source, "move", "--to", target).code == 0
    assert one.digests(target) == before
    assert [url for url in (source, target) if is_usable(run, url)] == [target]


def is_usable(run: Run, url: str) -> bool:
    """Return whether the CRM would start on it, and leave no new database behind."""
    if url.startswith("sqlite:") and not path_of(url).exists():
        return False
    ran = run("crm_api", url, "healthcheck") if _is_empty(url) else run("crm_api", url, "migrate")
    return ran.code == 0


def _is_empty(url: str) -> bool:
    """Return whether there is no table; a migration would make them."""
    if url.startswith("sqlite:"):
        return False
    one = Copied("crm_api")
    return not on_postgres(one.migrations, url, lambda db: inspect(db).get_table_names())


def test_a_moved_database_does_not_move_twice(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run, engine: str, tmp_path: Path
) -> None:
    source, target = new_database("crm_api"), elsewhere()
    Copied("crm_api").fill(source)
    run("crm_api", source, "move", "--to", target)
    other = f"sqlite:///{tmp_path}/third.db" if engine == "postgresql" else f"{target}_third"

    again = run("crm_api", source, "move", "--to", target)
    aside = run("crm_api", source, "move", "--to", other)

    assert (again.code, aside.code) == (1, 1)
    assert f"it is at {place_of(target)} already" in again.err
    assert f"It was moved to {place_of(target)}" in aside.err


def test_a_target_that_holds_something_is_left_as_it_is(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run
) -> None:
    one, source, target = Copied("crm_api"), new_database("crm_api"), elsewhere()
    one.fill(source)
    assert run("crm_api", target, "migrate").code == 0
    before = one.digests(target)

    ran = run("crm_api", source, "move", "--to", target)

    assert ran.code == 1
    assert "is not empty" in ran.err or "is there: a move makes a new file" in ran.err
    assert one.digests(target) == before
    assert one.digests(source)["customers"].rows == 30


@pytest.mark.engine("sqlite")
def test_a_target_that_a_broken_move_of_another_service_left_is_refused(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run, monkeypatch: Any
) -> None:
    target = elsewhere()
    undo = break_at(monkeypatch, "set_mark, of the source")
    with pytest.raises(Broken):
        run("inventory_api", new_database("inventory_api"), "move", "--to", target)
    undo()

    ran = run("crm_api", new_database("crm_api"), "move", "--to", target)

    assert ran.code == 1
    assert "It holds the tables of inventory_api" in ran.err


def test_rows_that_arrive_otherwise_stop_the_move(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run, monkeypatch: Any
) -> None:
    source, target = new_database("crm_api"), elsewhere()
    Copied("crm_api").fill(source)
    real = moving.rows.copy

    def copy(source: Any, target: Any, tables: Any, show: Any) -> None:
        real(source, target, tables, show)
        target.execute(text("UPDATE customers SET name = 'Eve' WHERE id = 7"))

    monkeypatch.setattr(moving.rows, "copy", copy)

    ran = run("crm_api", source, "move", "--to", target)

    assert ran.code == 1
    assert "other rows were found than were written, in customers" in ran.err
    assert Copied("crm_api").digests(source)["customers"].rows == 30


@pytest.mark.engine("sqlite")
def test_a_move_to_anywhere_else_is_refused(new_database: NewDatabase, run: Run) -> None:
    places = {
        "sqlite:///other.db": "a move goes from SQLite to PostgreSQL or back",
        "mysql://x/y": "the new place must start with sqlite:/// or postgresql://",
        "other.db": "the new place must start with sqlite:/// or postgresql://",
    }
    for place, words in places.items():
        ran = run("crm_api", new_database("crm_api"), "move", "--to", place)
        assert (ran.code, words in ran.err) == (1, True), ran.err


@pytest.mark.engine("sqlite")
def test_the_account_that_owns_the_database_is_enough(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run, tmp_path: Path
) -> None:
    one, source, target = Copied("crm_api"), new_database("crm_api"), elsewhere()
    one.fill(source)
    before = one.digests(source)
    name = re.search(r"/(elsewhere_\w+)\?", target)
    assert name is not None
    run_sql(target, f"CREATE ROLE {name[1]} LOGIN; ALTER DATABASE {name[1]} OWNER TO {name[1]}")
    own = target.replace("postgres:@", f"{name[1]}@")
    file, back = tmp_path / "copy.db", f"sqlite:///{tmp_path}/back.db"

    for url, command in (
        (source, ("move", "--to", own)),
        (own, ("backup", file)),
        (own, ("restore", file)),
        (own, ("move", "--to", back)),
    ):
        ran = run("crm_api", url, *command)
        assert ran.code == 0, ran.err

    found = one.digests(back)
    assert {name for name in found if found[name] != before[name]} == {"feed_head"}
