"""Runs the real PgBouncer in front of a PostgreSQL of the tests."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.system.processes import PATIENCE, until
from tests.system.stack import Port

# Debian's package puts it where no ordinary user's PATH leads.
PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
# It refuses to run as root; then it runs as the user that the tests' PostgreSQL makes for itself.
NOT_ROOT = ("-u", "pgserver")


def program() -> str | None:
    return shutil.which("pgbouncer", path=PLACES)


class PgBouncer:
    """Its process, which can be killed and started again at the same address.

    Nothing is set but the mode, and what it can't do without here.
    """

    def __init__(self, server_url: str, folder: Path) -> None:
        self._server_url = server_url
        self._port = Port()
        self._file = folder / "pgbouncer.ini"
        self._log = folder / "pgbouncer.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.chmod(0o755)
        (folder / "users.txt").write_text('"postgres" ""\n')
        self.configure(pool_mode="transaction")

    def configure(self, **settings: str) -> None:
        """Have the next start take these settings besides its own defaults."""
        [host] = parse_qs(urlsplit(self._server_url).query)["host"]
        needed = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self._port.number),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(self._file.with_name("users.txt")),
            "admin_users": "postgres",
        }
        lines = [f"{name} = {value}" for name, value in (settings | needed).items()]
        self._file.write_text(
            "\n".join([f"[databases]\n* = host={host}", "[pgbouncer]", *lines, ""])
        )

    def restart(self, **settings: str) -> None:
        self.kill()
        self.configure(**settings)
        self.start()

    def start(self) -> None:
        command = [program() or "pgbouncer", *(NOT_ROOT if os.geteuid() == 0 else ()), self._file]
        before = self.logged().count("process up")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, start_new_session=True)
        until(lambda: self.logged().count("process up") > before, "PgBouncer starts")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def close(self) -> None:
        self.kill()
        self._port.close()

    def logged(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def url(self, database_url: str) -> str:
        """Return the way to a database through it."""
        name = urlsplit(database_url).path
        return f"postgresql://postgres@127.0.0.1:{self._port.number}{name}"


@contextmanager
def pgbouncer(server_url: str) -> Iterator[PgBouncer]:
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        running = PgBouncer(server_url, Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.close()
