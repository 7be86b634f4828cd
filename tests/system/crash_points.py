"""Crash points: a process is killed before or after its N-th flush or send.

A small library (crash_points.c) is preloaded into the process. It needs no hook in the product, and
SIGKILL leaves the process no chance to tidy up. Kill it at N = 1, 2, … until a run ends by itself,
and it has died at every point there is:

    library = build(tmp_path)
    for n in itertools.count(1):
        extra = environment(library, "fsync", "before", n, armed_by=tmp_path / "go")
        done = subprocess.run([...], env=os.environ | extra, timeout=10)
        ...  # check what the dead left behind
        if done.returncode != -signal.SIGKILL:
            break

Kinds: "fsync" is fsync and fdatasync; "send" is send, sendto, sendmsg, write and writev on a TCP
stream or on a Unix stream with a name at either end. So neither an event loop's wake-ups count nor
what goes to stdout and stderr.

Only successful calls count, each process counts its own from 1, and a process forked without an
exec goes on from its parent's number. "after" fires once the call has returned, before the caller
sees that it did. Calls made before the file `armed_by` exists, or while it does not, do not count.
Children inherit all of it; `only_in` limits it to processes whose command line (as `ps` shows it,
arguments joined by blanks) contains the text.

A process forked without an exec can have a point of its own: it puts the variables into its
environment and calls `begin_anew()`.

A shell reports the kill as 137, and so does a container's first process, which SIGKILL from inside
cannot end.
"""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

Kind = Literal["fsync", "send"]
When = Literal["before", "after"]

SOURCE = Path(__file__).with_suffix(".c")


class NoCompiler(Exception):
    """The library cannot be built here: a reason to skip, not to fail."""


def build(folder: Path, source: Path = SOURCE) -> Path:
    """Compile a library into the folder."""
    compiler = shutil.which("cc")
    if sys.platform != "linux":
        raise NoCompiler("a preloaded library needs Linux")
    if compiler is None:
        raise NoCompiler("a preloaded library needs a C compiler named cc")
    library = folder / f"{source.stem}.so"
    options = ["-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-pthread"]
    # Some distributions fortify by default, and their headers then define calls that we replace.
    options.append("-U_FORTIFY_SOURCE")
    subprocess.run([compiler, *options, "-o", library, source, "-ldl"], check=True, timeout=60)
    return library


def environment(
    library: Path,
    kind: Kind,
    when: When,
    n: int,
    armed_by: Path | None = None,
    only_in: str | None = None,
) -> dict[str, str]:
    """Name the variables to add to the environment of the process that is to die."""
    if n < 1:
        raise ValueError("the first call is number 1")
    variables = {"LD_PRELOAD": str(library.absolute()), "CRASH_AT": f"{kind}:{when}:{n}"}
    if armed_by is not None:
        variables["CRASH_ARMED_BY"] = str(armed_by.absolute())
    if only_in is not None:
        variables["CRASH_IN"] = only_in
    return variables


def begin_anew() -> None:
    """Read this process's environment again, and count from 1; the library must be preloaded."""
    ctypes.CDLL(None).crash_points_begin_anew()
