import itertools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.system.crash_points import Kind, NoCompiler, When, build, environment

PATIENCE = 10

both_sides = pytest.mark.parametrize("when", ["before", "after"])


@contextmanager
def child(
    script: str, *arguments: object, variables: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    env = os.environ | variables
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.wait(PATIENCE)
        finally:
            process.kill()


def run(script: str, *arguments: object, variables: dict[str, str]) -> tuple[bool, list[int]]:
    """Tell whether the script was killed, and the numbers it had printed by then."""
    with child(script, *arguments, variables=variables) as process:
        printed, _ = process.communicate(timeout=PATIENCE)
    return was_killed(process), [int(line) for line in printed.split()]


def was_killed(process: subprocess.Popen[str]) -> bool:
    assert process.returncode in {0, -signal.SIGKILL}
    return process.returncode != 0


# ---- Flushes ----

ROWS = 3

# Making the table and closing the database flush too, which `go` keeps out of the count.
COMMITTER = """
import pathlib, sqlite3, sys
database, go, rows = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
db = sqlite3.connect(database, isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = FULL")
db.execute("CREATE TABLE promises (n INTEGER PRIMARY KEY)")
go.touch()
for n in range(1, rows + 1):
    db.execute("INSERT INTO promises VALUES (?)", [n])
    print(n, flush=True)
go.unlink()
db.close()
"""


def rows_in(database: Path) -> list[int]:
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [n for (n,) in db.execute("SELECT n FROM promises ORDER BY n")]


@both_sides
def test_sqlite_dies_at_every_commit_and_keeps_what_it_acknowledged(
    library: Path, tmp_path: Path, when: When
) -> None:
    for n in itertools.count(1):
        database, go = tmp_path / f"{n}.db", tmp_path / f"{n}.go"
        variables = environment(library, "fsync", when, n, armed_by=go)
        killed, acknowledged = run(COMMITTER, database, go, ROWS, variables=variables)
        if not killed:
            break
        assert acknowledged == list(range(1, n))
        # The row in flight may be there or not: its client was told neither.
        assert rows_in(database) in (acknowledged, [*acknowledged, n])

    assert n == ROWS + 1
    assert acknowledged == rows_in(database) == list(range(1, ROWS + 1))


FLUSHER = """
import os, sys
with open(sys.argv[1], "w") as file:
    for n, flush in enumerate([os.fsync, os.fdatasync, os.fsync], 1):
        flush(file.fileno())
        print(n, flush=True)
"""


@both_sides
def test_both_ways_to_flush_are_counted(library: Path, tmp_path: Path, when: When) -> None:
    for n in range(1, 4):
        variables = environment(library, "fsync", when, n)
        assert run(FLUSHER, tmp_path / "file", variables=variables) == (True, list(range(1, n)))

    variables = environment(library, "fsync", when, 4)
    assert run(FLUSHER, tmp_path / "file", variables=variables) == (False, [1, 2, 3])


# A pipe cannot be flushed.
STUMBLER = """
import contextlib, os, sys
with open(sys.argv[1], "w") as file:
    for n, target in enumerate([os.pipe()[1], file.fileno()] * 3, 1):
        with contextlib.suppress(OSError):
            os.fsync(target)
        print(n, flush=True)
"""


@pytest.mark.parametrize(("when", "printed"), [("before", [1, 2]), ("after", [1, 2, 3])])
def test_a_call_that_fails_uses_up_no_number(
    library: Path, tmp_path: Path, when: When, printed: list[int]
) -> None:
    variables = environment(library, "fsync", when, 2)

    assert run(STUMBLER, tmp_path / "file", variables=variables) == (True, printed)


CROWD = """
import os, sys, threading
def flush(file):
    for _ in range(50):
        os.fsync(file.fileno())
with open(sys.argv[1], "w") as file:
    threads = [threading.Thread(target=flush, args=[file]) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


@both_sides
def test_the_threads_of_a_process_share_one_count(
    library: Path, tmp_path: Path, when: When
) -> None:
    last, none = (environment(library, "fsync", when, n) for n in (400, 401))

    assert run(CROWD, tmp_path / "file", variables=last) == (True, [])
    assert run(CROWD, tmp_path / "file", variables=none) == (False, [])


# ---- Sends ----

MESSAGES = 3

# Each message is sent right after one thread and one signal have woken the loop up.
TALKER = """
import asyncio, os, signal, sys, uvloop
loop, transport, role, address, messages = sys.argv[1:]

async def be_woken_up():
    await asyncio.to_thread(int)
    woken = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, woken.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await woken.wait()

async def client():
    if transport == "unix":
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", address)
    for _ in range(int(messages)):
        await be_woken_up()
        writer.write(b"hello\\n")
        await reader.readline()
    writer.close()

async def server():
    hung_up = asyncio.Event()
    async def echo(reader, writer):
        while line := await reader.readline():
            await be_woken_up()
            writer.write(line)
        writer.close()
        hung_up.set()
    if transport == "unix":
        listening = await asyncio.start_unix_server(echo, address)
        print(address, flush=True)
    else:
        listening = await asyncio.start_server(echo, "127.0.0.1", 0)
        print(listening.sockets[0].getsockname()[1], flush=True)
    await hung_up.wait()
    listening.close()

with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
    runner.run(globals()[role]())
"""

on_both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
over_both_transports = pytest.mark.parametrize("transport", ["tcp", "unix"])


def talk_to_client(
    loop: str, transport: str, folder: Path, variables: dict[str, str]
) -> tuple[bool, int]:
    """Answer a client; tell whether it was killed, and how many messages it had sent by then."""
    if transport == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address := str(folder / "link"))
        listener.listen()
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()[1]
    listener.settimeout(PATIENCE)
    arguments = (loop, transport, "client", address, MESSAGES)
    with listener, child(TALKER, *arguments, variables=variables) as process:
        connection, _ = listener.accept()
        heard = echo_until_hung_up(connection)
    return was_killed(process), heard


def echo_until_hung_up(connection: socket.socket) -> int:
    heard = 0
    connection.settimeout(PATIENCE)
    with connection, connection.makefile("rb") as lines, suppress(ConnectionError):
        for line in lines:
            heard += 1
            connection.sendall(line)
    return heard


def talk_to_server(
    loop: str, transport: str, folder: Path, variables: dict[str, str]
) -> tuple[bool, int]:
    """Ask a server; tell whether it was killed, and how many answers it had sent by then."""
    arguments = (loop, transport, "server", folder / "link", MESSAGES)
    with child(TALKER, *arguments, variables=variables) as process:
        address = process.stdout.readline().strip()
        if transport == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(address)
        else:
            connection = socket.create_connection(("127.0.0.1", int(address)))
        heard = ask_until_hung_up(connection)
    return was_killed(process), heard


def ask_until_hung_up(connection: socket.socket) -> int:
    connection.settimeout(PATIENCE)
    with connection, connection.makefile("rb") as lines:
        for heard in range(MESSAGES):
            with suppress(ConnectionError):
                connection.sendall(b"hello\n")
                if lines.readline():
                    continue
            return heard
    return MESSAGES


with_both_roles = pytest.mark.parametrize("talk", [talk_to_client, talk_to_server])


@on_both_loops
@over_both_transports
@with_both_roles
@pytest.mark.parametrize(("when", "heard"), [("before", 1), ("after", 2)])
def test_a_process_dies_right_before_or_after_its_second_message(
    library: Path, tmp_path: Path, loop, transport, talk, when: When, heard: int
) -> None:
    variables = environment(library, "send", when, 2)

    assert talk(loop, transport, tmp_path, variables) == (True, heard)


@on_both_loops
@over_both_transports
@with_both_roles
def test_nothing_but_messages_is_counted_as_a_send(
    library: Path, tmp_path: Path, loop, transport, talk
) -> None:
    variables = environment(library, "send", "before", MESSAGES + 1)

    assert talk(loop, transport, tmp_path, variables) == (False, MESSAGES)


SENDS = """
import os, socket, sys
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
address = link.getpeername()
for n, send in enumerate([
    lambda: link.send(b"x"),
    lambda: link.sendto(b"x", address),
    lambda: link.sendmsg([b"x"]),
    lambda: os.write(link.fileno(), b"x"),
    lambda: os.writev(link.fileno(), [b"x"]),
], 1):
    send()
    print(n, flush=True)
"""


@both_sides
def test_every_way_to_send_is_counted(library: Path, when: When) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for n in range(1, 6):
            variables = environment(library, "send", when, n)
            assert run(SENDS, port, variables=variables) == (True, list(range(1, n)))

        variables = environment(library, "send", when, 6)
        assert run(SENDS, port, variables=variables) == (False, [1, 2, 3, 4, 5])


CHATTERBOX = """
import os, socket
mine, other = socket.socketpair()
for descriptor in [1, 2, mine.fileno(), os.pipe()[1]]:
    os.write(descriptor, b"hello")
mine.send(b"hello")
"""


def test_output_is_not_counted_even_when_it_goes_to_a_socket(library: Path) -> None:
    env = os.environ | environment(library, "send", "before", 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as output,
    ):
        command = [sys.executable, "-c", CHATTERBOX]
        subprocess.run(command, env=env, stdout=output, stderr=output, timeout=PATIENCE, check=True)


# ---- Settings ----


def test_without_a_setting_nothing_happens(library: Path, tmp_path: Path) -> None:
    variables = {"LD_PRELOAD": str(library)}

    assert run(FLUSHER, tmp_path / "file", variables=variables) == (False, [1, 2, 3])


@pytest.mark.parametrize("kind", ["fsync", "send"])
def test_one_kind_of_call_does_not_count_as_the_other(
    library: Path, tmp_path: Path, kind: Kind
) -> None:
    variables = environment(library, kind, "before", 1)

    assert run(FLUSHER, tmp_path / "file", variables=variables)[0] == (kind == "fsync")


@pytest.mark.parametrize("setting", ["", "fsync", "fsync:later:1", "sync:after:1", "send:after:0"])
def test_a_setting_that_would_never_fire_is_refused(library: Path, setting: str) -> None:
    env = os.environ | {"LD_PRELOAD": str(library), "CRASH_AT": setting}
    command = [sys.executable, "-c", ""]

    done = subprocess.run(command, env=env, timeout=PATIENCE, check=False, capture_output=True)

    assert done.returncode == 2
    assert done.stderr.startswith(b"crash_points: CRASH_AT is not")


def test_calls_do_not_count_until_the_arming_file_exists(library: Path, tmp_path: Path) -> None:
    variables = environment(library, "fsync", "before", 2, armed_by=tmp_path / "go")

    assert run(FLUSHER, tmp_path / "file", variables=variables) == (False, [1, 2, 3])
    (tmp_path / "go").touch()
    assert run(FLUSHER, tmp_path / "file", variables=variables) == (True, [1])


# The shell stays, as its own command line names both of its children.
FAMILY = '"$0" -c "$1" "$2" a bystander; echo $?; "$0" -c "$1" "$2" the victim; echo $?'


def test_a_family_loses_only_the_member_that_was_named(library: Path, tmp_path: Path) -> None:
    env = os.environ | environment(library, "fsync", "before", 1, only_in="file the victim")
    command = ["sh", "-c", FAMILY, sys.executable, FLUSHER, str(tmp_path / "file")]

    done = subprocess.run(
        command, env=env, timeout=PATIENCE, check=True, stdout=subprocess.PIPE, text=True
    )

    assert done.stdout.split() == ["1", "2", "3", "0", str(128 + signal.SIGKILL)]


FORKED = """
import os, sys
from tests.system.crash_points import begin_anew
with open(sys.argv[1], "w") as file:
    os.fsync(file.fileno())
    if (child := os.fork()) == 0:
        os.environ["CRASH_AT"] = "fsync:before:2"
        begin_anew()
        for n in (1, 2, 3):
            os.fsync(file.fileno())
            os.write(1, b"%d\\n" % n)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_can_have_a_point_of_its_own(library: Path, tmp_path: Path) -> None:
    variables = {"LD_PRELOAD": str(library), "PYTHONPATH": str(Path(__file__).parents[2])}

    killed, printed = run(FORKED, tmp_path / "file", variables=variables)

    assert (killed, printed) == (False, [1, -signal.SIGKILL])


def test_the_first_call_is_number_one(library: Path) -> None:
    with pytest.raises(ValueError, match="number 1"):
        environment(library, "fsync", "before", 0)


def test_a_machine_without_a_compiler_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NoCompiler):
        build(tmp_path)
