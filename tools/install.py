"""Installs locked packages into .venv: `python3 tools/install.py LOCK [LOCK ...]`.

LOCK names a file of requirements/, as in crm_api. The packages are installed exactly as locked;
nothing is resolved, so a release that came out since the lock changes nothing. `.venv` is made anew
when the interpreter, the folder or an installed lock has changed.

It needs a bare Python only, and any since 3.7 can read it: one that is too old is refused in words.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PIP_LOG = VENV / "pip.log"
# The command that started Python, which the Makefile reads from here; the interpreter and the
# folder; then each installed lock with its hash.
RECORD = VENV / "made-by"

OLDEST = (3, 11)
EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130
# Where the output is not a terminal, a line of progress is printed this often.
LINE_SECONDS = 5.0


class Refused(Exception):
    """The caller has to change something first; the text says what."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Install locked packages into .venv.")
    known = sorted(file.stem for file in (ROOT / "requirements").glob("*.txt"))
    parser.add_argument("locks", nargs="+", metavar="LOCK", choices=known, help=", ".join(known))
    parser.add_argument("--python", default="python3", help="the command that started Python")
    options = parser.parse_args(arguments)
    try:
        check_python(options.python)
        prepare(options.python, options.locks)
    except Refused as reason:
        print(reason, file=sys.stderr)
        return EXIT_REFUSED
    except subprocess.CalledProcessError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def check_python(command: str) -> None:
    """Raise Refused where this Python is too old, or can't make a virtual environment."""
    if sys.version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise Refused(
            f"crmsys needs Python {oldest} or later, and {command} is Python "
            f"{platform.python_version()}. Name another: make run PYTHON={newer_python()}"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise Refused(
            f"{command} has no ensurepip, which .venv needs. On Debian and Ubuntu: "
            f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        )


def newer_python() -> str:
    """Name a command on this machine that starts a Python which will do, or one to install."""
    for minor in range(OLDEST[1] + 5, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # A version manager has commands that start nothing.
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return f"python3.{minor}"
    return "python3.13"


def prepare(command: str, locks: list[str]) -> None:
    """Bring .venv to the state that these locks describe; do nothing where it is."""
    if VENV.is_symlink():
        return  # somebody else's, who looks after it
    interpreter = f"{sys.implementation.cache_tag} of {sys.base_prefix}, for {VENV}"
    recorded = RECORD.read_text().splitlines() if RECORD.exists() and PYTHON.exists() else []
    installed = recorded[2:]
    names = sorted({*locks, *(line.split()[0] for line in installed)})
    wanted = [line_of(name) for name in names if file_of(name).exists()]
    if is_outdated(recorded, interpreter, wanted):
        print(f"Making .venv with Python {platform.python_version()}...", flush=True)
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(VENV)
        installed = []
    missing = [line for line in wanted if line not in installed]
    if missing:
        RECORD.write_text("\n".join([command, interpreter, *installed, ""]))
        install([line.split()[0] for line in missing])
    RECORD.write_text("\n".join([command, interpreter, *wanted, ""]))


def is_outdated(recorded: list[str], interpreter: str, wanted: list[str]) -> bool:
    """Tell whether .venv has to be made anew, by its record and by the locks as they are now.

    A lock that has changed counts: packages that it no longer has would stay.
    """
    return recorded[1:2] != [interpreter] or not set(recorded[2:]) <= set(wanted)


def file_of(lock: str) -> Path:
    return ROOT / "requirements" / f"{lock}.txt"


def line_of(lock: str) -> str:
    return f"{lock} {hashlib.sha256(file_of(lock).read_bytes()).hexdigest()}"


def install(locks: list[str]) -> None:
    """Install locks and show the progress. Raises CalledProcessError, with pip's words printed."""
    began_at = time.monotonic()
    files = [file_of(lock) for lock in locks]
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    # The locks are whole. Resolving would fail besides: where a requirement has extras, an old pip
    # looks at newer releases, which have no hash here.
    command = [*pip, "install", "--require-hashes", "--no-deps"]
    run_pip([*command, *(f"--requirement={file}" for file in files)], Progress(files))
    run_pip([*pip, "check"], None)
    print(f"Installed the locked packages in {time.monotonic() - began_at:.0f} s.", flush=True)


def run_pip(command: list[str], progress: Progress | None) -> None:
    with PIP_LOG.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        while process.poll() is None:
            if progress:
                progress.show()
            time.sleep(0.2)
    if progress:
        progress.clear()
    if process.returncode != 0:
        lines = PIP_LOG.read_text(errors="replace").splitlines()
        said = [line for line in lines if not line.startswith("WARNING: Location")]
        print(*said[-15:], f"Not installed. {PIP_LOG} has all that pip said.", sep="\n")
        raise subprocess.CalledProcessError(process.returncode, command)


class Progress:
    """How far pip is, by what it says and by what it has put into .venv."""

    def __init__(self, files: list[Path]) -> None:
        names = (re.findall("^([A-Za-z0-9._-]+)==", f.read_text(), re.MULTILINE) for f in files)
        self._pinned = len(set().union(*names))
        self._there_before = installed_packages()
        self._is_terminal = sys.stdout.isatty()
        self._next_line_at = 0.0

    def show(self) -> None:
        if self._is_terminal:
            print(f"\r\033[K{self._state()}", end="", flush=True)
        elif time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + LINE_SECONDS
            print(self._state(), flush=True)

    def clear(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="", flush=True)

    def _state(self) -> str:
        said = PIP_LOG.read_text(errors="replace")
        fetched = re.search("^Installing collected packages: (.*)", said, re.MULTILINE)
        if fetched:
            done = installed_packages() - self._there_before
            return f"Installing packages: {done} of {fetched[1].count(',') + 1}"
        found = re.findall("^(Collecting|Requirement already|Ignoring) ", said, re.MULTILINE)
        ignored = found.count("Ignoring")
        return f"Fetching packages: {len(found) - ignored} of {self._pinned - ignored}"


def installed_packages() -> int:
    return len(list(VENV.glob("lib/python*/site-packages/*.dist-info")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
