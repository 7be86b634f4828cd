"""The commands of docs/routes.md, run as they are printed, from nothing to a verified webhook."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.system.processes import bare_environment, until
from tests.system.stack import Port

PAGE = (ROOT / "docs" / "routes.md").read_text()
STEPS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
[PRINTED] = re.findall(r"Within a second the receiver prints\n\n```text\n(.*?)\n```", PAGE)
END_OF_STEP, FAILED = "--- the end of a step ---", "--- a step failed ---"
ACTIVATES = ". .venv/bin/activate\n"
KILLS = "UPDATE deliveries SET state = 'dead', next_attempt_at = NULL WHERE route = 'web-shop'"
USUAL_PORTS = ("8000", "8002", "9000")

pytestmark = [pytest.mark.long, pytest.mark.engine("sqlite")]


class Shell:
    """One bash, that runs a step after another in an empty folder, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self._ports = {usual: Port() for usual in USUAL_PORTS}
        own = {"PYTHONPATH": str(ROOT), "no_proxy": "*"}
        environment = bare_environment() | own
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        numbers = {usual: str(port.number) for usual, port in self._ports.items()}
        environment["CRM_API_URL"] = f"http://localhost:{numbers['8000']}"
        self._numbers = numbers
        self._errors = (folder / "stderr").open("w+")
        # In a group of its own, so that what it starts in the background ends with it.
        self._bash = subprocess.Popen(
            ["/bin/bash", "-eu"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=folder,
            text=True,
            start_new_session=True,
        )
        self.run(f"trap 'echo \"{FAILED}\"' EXIT")

    def run(self, step: str) -> str:
        """Run a step, and give what was printed until its end; one that fails ends the shell."""
        for usual, number in self._numbers.items():
            step = re.sub(rf"\b{usual}\b", number, step)
        for service, usual in (("crm_api", "8000"), ("integration_service", "8002")):
            serve = f"python -m {service} serve"
            step = step.replace(serve, f"PORT={self._numbers[usual]} {serve}")
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f"{step}\necho; echo '{END_OF_STEP}'\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line.strip() == END_OF_STEP:
                return "".join(lines)
            if line.strip() == FAILED:
                break  # what runs in the background keeps the pipe open
            lines.append(line)
        self._errors.seek(0)
        raise AssertionError(f"{step}\n{''.join(lines)}\n{self._errors.read()[-4000:]}")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()
        self._errors.close()
        for port in self._ports.values():
            port.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    with closing(Shell(tmp_path)) as shell:
        yield shell


def ledger(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "data" / "integration.db")) as database, database:
        return database.execute(statement).fetchall()


@pytest.mark.timeout(180)
def test_every_command_does_what_the_page_says(shell: Shell, tmp_path: Path) -> None:
    def is_quiet() -> bool:
        found = ledger(tmp_path, "SELECT state FROM deliveries")
        return bool(found) and {state for (state,) in found} <= {"delivered", "skipped"}

    steps = [step for step in STEPS if "docker " not in step]
    printed, is_served = "", False

    for step in steps:
        is_served |= "serve &" in step
        if "/dismiss" in step:
            before, dismissing = step.split("/retry\n", 1)
            printed += shell.run(f"{before}/retry")
            until(is_quiet, "what is retried is sent")
            ledger(tmp_path, KILLS)
            step = dismissing  # noqa: PLW2901 (what is left of it)
        printed += shell.run(step.removeprefix(ACTIVATES))
        if is_served:
            until(is_quiet, "what is owed is sent")

    assert len(steps) > 10
    assert printed.splitlines().count(PRINTED) >= 2, "once as it is new, again by the replay"
    assert '"skip_reason":"dismissed"' in printed
    assert re.search(r'"replayed":[1-9]', printed)
