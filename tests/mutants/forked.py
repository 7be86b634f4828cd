"""Runs pytest in processes forked off one that has loaded the libraries, and none of our code."""

import os
import sys
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pytest

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("alembic", "asyncpg", "fastapi", "httpx", "jsonschema_rs"),
        *("prometheus_client", "pydantic_settings", "rich", "sqlalchemy.ext.asyncio", "uvicorn"),
    ]
)
# Added to pytest's exit codes, of which Python's own 1, for what ends in a traceback, is none then.
_OWN_CODES = 10
_SERVICES = {"crm_api", "inventory_api", "integration_service"}
_OURS = {"console", "service_kit", "tests", "tools", *_SERVICES}


# Plugins were imported before pytest could rewrite what they assert.
_QUIETLY = ("-W", "ignore::pytest.PytestAssertRewriteWarning")


class Done(NamedTuple):
    """How a run of tests ended, in pytest's code for it, and what it printed."""

    exit_code: int
    log: str


def run_tests(tree: Path, tests: Iterable[str], engine: str, seconds: float) -> Done:
    """Run tests with the code of the tree, up to the first that fails."""
    chosen = ["-k", "not postgresql"] if engine == "sqlite" else []
    options = ["-x", "-q", "-p", "no:cacheprovider", *_QUIETLY, *chosen, *tests]
    log = tree.parent / "log"
    process = _FORKS.Process(target=_run_pytest, args=(tree, options, log))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        pytest.fail(f"no end within {seconds:g} s: {log.read_text()[-3000:]}")
    return Done((process.exitcode or 0) - _OWN_CODES, log.read_text())


def _run_pytest(tree: Path, options: list[str], log: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = False
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(_OWN_CODES + int(pytest.main(options)))
