"""Planted bugs in the console's pages for warehouse and developers, and in its streams."""

from tests.mutants.mutant import Mutant

_PACKING = "tests/console/test_packing.py"
_STOCK = "tests/console/test_stock.py"
_IMPORTS = "tests/console/test_imports.py"
_DEVELOPERS = "tests/console/test_developers.py"
_LIVE = "tests/console/test_live.py"

MUTANTS = [
    Mutant(
        name="a stream goes on behind where its page stood, not behind where it was cut",
        kind="order",
        file="console/pages/live.py",
        text='visit.request.headers.get("last-event-id") or visit.query.get("after", "")',
        instead='visit.query.get("after", "") or visit.request.headers.get("last-event-id", "")',
        tests=(f"{_LIVE}::test_after_a_cut_the_last_id_says_where_to_go_on",),
    ),
    Mutant(
        name="a stream keeps a place of the requests at work",
        kind="dropped",
        file="console/pages/live.py",
        text="            slot.leave()",
        instead="            pass",
        tests=(f"{_LIVE}::test_a_stream_takes_no_place_among_the_requests_at_work",),
    ),
    Mutant(
        name="whoever leaves a stream goes on counting",
        kind="dropped",
        file="console/pages/live.py",
        text="            self._visit.site.streams.give_back(self._visit.session.key)",
        instead="            pass",
        tests=(f"{_LIVE}::test_a_session_has_so_many_streams_and_no_more",),
    ),
    Mutant(
        name="what could not be moved comes last",
        kind="order",
        file="console/pages/packing.py",
        text="key=lambda result: result.error is None)",
        instead="key=lambda result: result.error is not None)",
        tests=(f"{_PACKING}::test_many_are_moved_and_each_says_what_came_of_it",),
    ),
    Mutant(
        name="who only reads packages moves them",
        kind="scope",
        file="console/pages/packing.py",
        text='post("/packing/move", move, "packages:write")',
        instead='post("/packing/move", move, "packages:read")',
        tests=(f"{_PACKING}::test_who_only_reads_packages_moves_none",),
    ),
    Mutant(
        name="a count of an older level is recorded",
        kind="condition",
        file="console/pages/stock.py",
        text='    if form["on_hand"] != str(on_hand):',
        instead="    if False:",
        tests=(f"{_STOCK}::test_a_count_that_can_not_be_right_is_not_recorded",),
    ),
    Mutant(
        name="an item is changed whoever was faster",
        kind="dropped",
        file="console/pages/stock.py",
        text=', If_Match=form["etag"])',
        instead=")",
        tests=(f"{_STOCK}::test_two_who_change_one_item_learn_of_each_other",),
    ),
    Mutant(
        name="a delimiter that comes in two pieces is taken for the file's text",
        kind="boundary",
        file="console/uploads.py",
        text="len(self._buffer) - len(self._delimiter) + 1",
        instead="len(self._buffer)",
        tests=(f"{_IMPORTS}::test_a_file_of_many_pieces_arrives_as_it_was",),
    ),
    Mutant(
        name="a check of a file imports it",
        kind="condition",
        file="console/pages/imports.py",
        text="dry_run={'true' if dry_run else 'false'}",
        instead="dry_run=false",
        tests=(f"{_IMPORTS}::test_a_file_is_checked_and_nothing_written",),
    ),
    Mutant(
        name="the feed's tail leaves out its newest event",
        kind="boundary",
        file="console/pages/feed.py",
        text="        events=events[::-1],",
        instead="        events=events[:-1][::-1],",
        tests=(f"{_DEVELOPERS}::test_the_feed_shows_its_newest_events_first",),
    ),
]
