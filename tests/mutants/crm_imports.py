"""Planted bugs in imports over HTTP."""

from tests.mutants.mutant import Mutant

_IMPORTS = "tests/crm_api/test_imports.py"
_INTERRUPTIONS = "tests/crm_api/test_import_interruptions.py"
_UPLOADS = "tests/crm_api/test_import_uploads.py"

MUTANTS = [
    Mutant(
        name="an import that moves on is taken for dead",
        kind="condition",
        file="crm_api/imports/runner.py",
        text="since if before == count else now)",
        instead="since)",
        tests=(f"{_INTERRUPTIONS}::test_an_import_whose_count_moves_on_is_left_alone",),
    ),
    Mutant(
        name="a chunk whose commit was not heard of is imported twice",
        kind="condition",
        file="crm_api/imports/service.py",
        text="    if found.rows_read != before:\n        return\n",
        instead="",
        tests=(f"{_INTERRUPTIONS}::test_a_chunk_whose_commit_was_not_heard_of_is_counted_once",),
    ),
    Mutant(
        name="whoever was taken for dead works on",
        kind="condition",
        file="crm_api/imports/service.py",
        text="if found is None or found.state != RUNNING:",
        instead="if found is None:",
        tests=(f"{_INTERRUPTIONS}::test_who_was_taken_for_dead_does_nothing_more",),
    ),
    Mutant(
        name="a file of just the limit is refused",
        kind="boundary",
        file="crm_api/imports/upload.py",
        text="        if length > most:\n",
        instead="        if length >= most:\n",
        tests=(f"{_UPLOADS}::test_a_file_over_the_limit_is_refused",),
    ),
    Mutant(
        name="a hundred and one refusals are shown",
        kind="boundary",
        file="crm_api/imports/service.py",
        text="refused[:MOST_SHOWN]",
        instead="refused[: MOST_SHOWN + 1]",
        tests=(f"{_IMPORTS}::test_at_most_a_hundred_refusals_are_shown_and_all_are_in_the_report",),
    ),
    Mutant(
        name="the file is imported before what stands in it twice is known",
        kind="order",
        file="crm_api/imports/chunks.py",
        text="        self._repeats.read(self._source, self._rest)\n        self._lines = ",
        instead="        self._lines = ",
        tests=(f"{_IMPORTS}::test_what_stands_in_a_file_twice_is_refused_with_the_other_line",),
    ),
    Mutant(
        name="an import is anybody's",
        kind="scope",
        file="crm_api/imports/store.py",
        text='where(_IS_RUNNING, imports.c.credential == bindparam("whose"))',
        instead='where(_IS_RUNNING, bindparam("whose").is_not(None))',
        tests=(f"{_IMPORTS}::test_a_caller_has_one_import_at_a_time",),
    ),
    Mutant(
        name="a key stands for a dry run and the import after it",
        kind="scope",
        file="crm_api/imports/router.py",
        text='f"{upload.digest} {new.dry_run} {new.welcome}"',
        instead='f"{upload.digest} {new.welcome}"',
        tests=(f"{_IMPORTS}::test_the_same_key_and_file_are_one_import",),
    ),
    Mutant(
        name="a report outlives the person",
        kind="dropped",
        file="crm_api/customers/store.py",
        text="    import_reports.forget(db)\n",
        instead="",
        tests=(f"{_IMPORTS}::test_an_erasure_erases_all_reports",),
    ),
    Mutant(
        name="nobody deletes old reports",
        kind="dropped",
        file="crm_api/imports/runner.py",
        text="                await prune_reports(database)\n",
        instead="",
        tests=(f"{_INTERRUPTIONS}::test_the_watch_does_both",),
    ),
    Mutant(
        name="a dry run is written down as an import",
        kind="dropped",
        file="crm_api/imports/service.py",
        text="    if not new.dry_run:\n        audit",
        instead="    if new:\n        audit",
        tests=(f"{_IMPORTS}::test_a_dry_run_writes_nothing_and_tells_what_would_be",),
    ),
]
