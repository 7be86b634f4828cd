"""Planted bugs in the copies of whole databases."""

from tests.mutants.mutant import Mutant

_COPIES = "service_kit/database/copies"
_BACKUP = "tests/copies/test_backup.py"
_RESTORE = "tests/copies/test_restore.py"
_MOVE = "tests/copies/test_move.py"
_COMMANDS = "tests/copies/test_commands.py"
_SNAPSHOTS = "tests/service_kit/test_snapshots.py"

MUTANTS = [
    Mutant(
        name="a moved database gives its last id again",
        kind="boundary",
        file=f"{_COPIES}/counters.py",
        text="first = _last(db, table, counters) + 1",
        instead="first = max(1, _last(db, table, counters))",
        tests=(f"{_MOVE}::test_rows_and_counters_move_and_the_source_names_the_new_place",),
    ),
    Mutant(
        name="a backup replaces that of another service",
        kind="condition",
        file=f"{_COPIES}/backup.py",
        text="if found is None or found.service != migrations.service:",
        instead="if found is None:",
        tests=(f"{_BACKUP}::test_only_a_backup_of_this_service_is_replaced",),
    ),
    Mutant(
        name="a file takes its place before it is written",
        kind="order",
        file=f"{_COPIES}/files.py",
        text="            yield part\n            flush(part)\n            part.replace(path)\n",
        instead="            part.replace(path)\n            yield path\n            flush(path)\n",
        tests=(f"{_COMMANDS}::test_a_full_disk_is_told_and_all_is_as_before",),
    ),
    Mutant(
        name="a backup that somebody has changed passes for whole",
        kind="dropped",
        file=f"{_COPIES}/checking.py",
        text="    if not checksum.is_sealed(path, found.sha256):\n",
        instead="    if False:\n",
        tests=(f"{_BACKUP}::test_what_has_befallen_a_backup_is_told",),
    ),
    Mutant(
        name="a checksum is of what stands before it alone",
        kind="boundary",
        file=f"{_COPIES}/checksum.py",
        text="        found.update(view[at + len(_ZEROS) :])\n",
        instead="",
        tests=("tests/copies/test_checksum.py::test_any_other_byte_is_told",),
    ),
    Mutant(
        name="a backup of PostgreSQL sees what is committed meanwhile",
        kind="scope",
        file=f"{_COPIES}/connections.py",
        text='isolation="repeatable_read", readonly=True',
        instead="readonly=True",
        tests=(f"{_BACKUP}::test_under_load_a_backup_is_of_one_instant",),
        engine="both",
    ),
    Mutant(
        name="a restored feed goes on in its old epoch",
        kind="dropped",
        file=f"{_COPIES}/restoring.py",
        text="        contents.renew(db)\n",
        instead="",
        tests=(f"{_RESTORE}::test_a_restored_crm_begins_a_new_epoch_behind_all_positions",),
    ),
    Mutant(
        name="a database is opened while it is replaced",
        kind="condition",
        file=f"{_COPIES}/files.py",
        text="        use = FileUse(path, alone=True)\n",
        instead="        use = FileUse(path)\n",
        tests=(f"{_RESTORE}::test_nobody_opens_a_database_while_it_is_replaced",),
    ),
    Mutant(
        name="a database that another program has open is replaced",
        kind="dropped",
        file=f"{_COPIES}/files.py",
        text="                _close_log(path)\n",
        instead="                pass\n",
        tests=(f"{_RESTORE}::test_a_database_in_use_is_not_replaced",),
    ),
    Mutant(
        name="a session of another role is not seen",
        kind="scope",
        file=f"{_COPIES}/connections.py",
        text="coalesce(backend_type, 'client backend') = 'client backend'",
        instead="backend_type = 'client backend'",
        tests=(f"{_RESTORE}::test_a_session_of_another_role_is_found_though_its_name_is_hidden",),
        engine="both",
    ),
    Mutant(
        name="a source is marked before its target is whole",
        kind="order",
        file=f"{_COPIES}/moving.py",
        text="""        lock_alone(source, self._contents.tables)
        with replacing(path) as part:
            backup.fill(self._migrations, self._contents, source, part, self._show)
            with filling(part) as target:
                self._seal(source, target)
""",
        instead="        lock_alone(source, self._contents.tables)\n",
        tests=(f"{_MOVE}::test_a_move_that_broke_is_run_again",),
        engine="both",
    ),
    Mutant(
        name="rows that arrive otherwise do not stop a move",
        kind="dropped",
        file=f"{_COPIES}/moving.py",
        text="        rows.refuse_different(source, target, self._contents.tables, self._show)\n",
        instead="",
        tests=(f"{_MOVE}::test_rows_that_arrive_otherwise_stop_the_move",),
    ),
    Mutant(
        name="a database that was moved away is used again",
        kind="dropped",
        file="service_kit/database/migrations/__init__.py",
        text="        raise SchemaMismatch(mark.refusal)\n",
        instead="        pass\n",
        tests=(f"{_MOVE}::test_rows_and_counters_move_and_the_source_names_the_new_place",),
    ),
    Mutant(
        name="one snapshot less is kept than was asked for",
        kind="boundary",
        file="service_kit/database/sqlite/snapshots.py",
        text="for old in snapshots_of(path)[:-kept]:",
        instead="for old in snapshots_of(path)[: 1 - kept]:",
        tests=(f"{_SNAPSHOTS}::test_the_newest_are_kept_as_the_settings_say",),
    ),
    Mutant(
        name="a feed whose last events are missing passes for whole",
        kind="condition",
        file="crm_api/feed/copies.py",
        text="< 0 or left % JUMP:",
        instead="< 0:",
        tests=(f"{_RESTORE}::test_a_feed_with_a_hole_is_told",),
    ),
]
