"""Planted bugs in the feed."""

from tests.mutants.mutant import Mutant

_CUSTOMER_LISTS = "tests/crm_api/test_customer_lists.py"
_EVENT_SCHEMAS = "tests/crm_api/test_event_schemas.py"
_FEED = "tests/crm_api/test_feed.py"
_FEED_CURSORS = "tests/crm_api/test_feed_cursors.py"
_FEED_PRUNING = "tests/crm_api/test_feed_pruning.py"
_FEED_READERS = "tests/crm_api/test_feed_readers.py"
_FEED_WAITING = "tests/crm_api/test_feed_waiting.py"

MUTANTS = [
    Mutant(
        name="what is pruned while a page is read is not noticed",
        kind="condition",
        file="crm_api/feed/service.py",
        text="""    if position < pruned:
        # In""",
        instead="""    if position < 0:
        # In""",
        tests=(
            f"{_FEED_PRUNING}::test_a_page_is_whole_or_refused_when_its_start_is_pruned_meanwhile",
        ),
    ),
    Mutant(
        name="a cursor has more than one spelling",
        kind="condition",
        file="crm_api/feed/cursor.py",
        text='if position >> 63 or cursor.encode() != text.rstrip("="):',
        instead="if position >> 63:",
        tests=(f"{_FEED_CURSORS}::test_a_cursor_comes_back_as_it_was_and_has_one_spelling",),
    ),
    Mutant(
        name="a page of rare types ends at its last event",
        kind="condition",
        file="crm_api/feed/service.py",
        text="    if len(rows) == limit:\n",
        instead="    if rows:\n",
        tests=(f"{_FEED}::test_types_pass_over_positions_and_still_cover_them",),
    ),
    Mutant(
        name="erasing adds fields to events that had none",
        kind="condition",
        file="crm_api/feed/service.py",
        text="for name in blank if name in fields}",
        instead="for name in blank}",
        tests=(f"{_EVENT_SCHEMAS}::test_every_event_that_is_sent_matches_its_schema",),
    ),
    Mutant(
        name="a cursor names the last event that was shown",
        kind="condition",
        file="crm_api/feed/service.py",
        text="is_seen = rows and rows[-1].position == through",
        instead="is_seen = rows",
        tests=(f"{_FEED}::test_a_cursor_behind_events_of_other_types_leads_on",),
    ),
    Mutant(
        name="a cursor exactly where events are pruned is refused",
        kind="boundary",
        file="crm_api/feed/service.py",
        text="""    if position < pruned:
        _refuse_expired(head.epoch, pruned)
    return position
""",
        instead="""    if position <= pruned:
        _refuse_expired(head.epoch, pruned)
    return position
""",
        tests=(f"{_FEED_PRUNING}::test_who_has_not_read_what_was_pruned_is_told_so",),
    ),
    Mutant(
        name="a cursor one beyond the head is believed",
        kind="boundary",
        file="crm_api/feed/service.py",
        text="if cursor.position > last:",
        instead="if cursor.position > last + 1:",
        tests=(f"{_FEED_CURSORS}::test_a_cursor_beyond_the_head_has_diverged",),
    ),
    Mutant(
        name="a page leaves out the last position that it covers",
        kind="boundary",
        file="crm_api/feed/store.py",
        text="""events.c.position <= bindparam("through"))
    .order_by""",
        instead="""events.c.position < bindparam("through"))
    .order_by""",
        tests=(f"{_FEED}::test_pages_follow_each_other_without_a_hole",),
    ),
    Mutant(
        name="an event of the very instant is pruned too",
        kind="boundary",
        file="crm_api/feed/store.py",
        text="if occurred_at >= before:",
        instead="if occurred_at > before:",
        tests=(f"{_FEED_PRUNING}::test_an_event_of_the_very_instant_is_not_older_than_it",),
    ),
    Mutant(
        name="events are numbered against the order of their ids",
        kind="order",
        file="crm_api/feed/store.py",
        text="row_number() OVER (ORDER BY id)",
        instead="row_number() OVER (ORDER BY id DESC)",
        tests=(f"{_FEED}::test_what_was_left_without_a_position_comes_before_what_is_new",),
    ),
    Mutant(
        name="what was left without a position comes after what is new",
        kind="condition",
        file="crm_api/feed/store.py",
        text="first = None if end.unnumbered else end.last_position + 1",
        instead="first = end.last_position + 1",
        tests=(f"{_FEED}::test_what_was_left_without_a_position_comes_before_what_is_new",),
    ),
    Mutant(
        name="a customer takes a position while others wait for theirs",
        kind="condition",
        file="crm_api/feed/store.py",
        text=".where(~_IS_UNNUMBERED, func.pg_try_advisory_xact_lock(LOCK))",
        instead=".where(func.pg_try_advisory_xact_lock(LOCK))",
        tests=(f"{_FEED}::test_what_was_left_without_a_position_comes_before_what_is_new",),
        engine="both",
    ),
    Mutant(
        name="who is refused takes a position",
        kind="dropped",
        file="crm_api/feed/store.py",
        text=", exists().select_from(added))",
        instead=")",
        tests=(f"{_FEED}::test_who_is_refused_takes_no_position",),
        engine="both",
    ),
    Mutant(
        name="the next commit is awaited from after the look",
        kind="order",
        file="crm_api/feed/service.py",
        text="""        next_commit = database.committed.next()
        found = await database.read(page, after, types, limit)
        while""",
        instead="""        found = await database.read(page, after, types, limit)
        next_commit = database.committed.next()
        while""",
        tests=(f"{_FEED_WAITING}::test_no_news_is_lost_between_looking_and_waiting",),
    ),
    Mutant(
        name="a page of some types shows all types",
        kind="scope",
        file="crm_api/feed/store.py",
        text="""    if types:
        return _BETWEEN_OF_TYPES.all(""",
        instead="""    if types and limit < 0:
        return _BETWEEN_OF_TYPES.all(""",
        tests=(f"{_FEED}::test_types_pass_over_positions_and_still_cover_them",),
    ),
    Mutant(
        name="a page covers positions beyond the head",
        kind="scope",
        file="crm_api/feed/service.py",
        text="through = min(last, position + store.WINDOW)",
        instead="through = position + store.WINDOW",
        tests=(f"{_FEED}::test_types_pass_over_positions_and_still_cover_them",),
    ),
    Mutant(
        name="whoever is registered but not numbered is left out",
        kind="scope",
        file="crm_api/feed/store.py",
        text="or_(event.position.is_(None), event.position > position)",
        instead="event.position > position",
        tests=(
            f"{_CUSTOMER_LISTS}::test_whoever_comes_while_paging_since_a_place_is_on_a_later_page",
        ),
    ),
    Mutant(
        name="numbering in turn does not wait its turn",
        kind="scope",
        file="crm_api/feed/store.py",
        text='if db.dialect.name == "postgresql" and in_turn:',
        instead='if db.dialect.name == "postgresql" and in_turn and False:',
        tests=(f"{_CUSTOMER_LISTS}::test_the_first_page_waits_for_whoever_numbers_the_feed",),
        engine="both",
    ),
    Mutant(
        name="pruned registrations do not count as registered",
        kind="scope",
        file="crm_api/feed/store.py",
        text="        exists().where(pruned.subject == subject, pruned.position > position),\n",
        instead="",
        tests=(f"{_CUSTOMER_LISTS}::test_the_list_since_a_place_in_the_feed_goes_by_positions",),
    ),
    Mutant(
        name="the head of the feed does not move when events are numbered",
        kind="dropped",
        file="crm_api/feed/store.py",
        text="        _advance(db, count)\n",
        instead="        pass\n",
        tests=(f"{_FEED}::test_what_was_left_without_a_position_comes_before_what_is_new",),
    ),
    Mutant(
        name="what was pruned is not remembered",
        kind="dropped",
        file="crm_api/feed/store.py",
        text='    db.execute(_KEEP_REGISTRATIONS, {"through": through})\n',
        instead="",
        tests=(f"{_CUSTOMER_LISTS}::test_the_list_since_a_place_in_the_feed_goes_by_positions",),
    ),
    Mutant(
        name="a feed that nobody reads is never pruned",
        kind="dropped",
        file="crm_api/feed/service.py",
        text="""    await assign_all_positions(database)
    total = 0""",
        instead="    total = 0",
        tests=(f"{_FEED_PRUNING}::test_a_feed_that_nobody_reads_is_pruned_too",),
    ),
    Mutant(
        name="the first reader who wakes cancels the others' wait",
        kind="dropped",
        file="crm_api/feed/service.py",
        text="asyncio.shield(next_commit)",
        instead="next_commit",
        tests=(f"{_FEED_WAITING}::test_a_reader_that_goes_away_wakes_nobody",),
    ),
    Mutant(
        name="whoever waits keeps a place of those who work",
        kind="dropped",
        file="crm_api/feed/router.py",
        text="""    with slot_of(request).waiting(wait) if wait else nullcontext():
        page =""",
        instead="""    with nullcontext():
        page =""",
        tests=(f"{_FEED_WAITING}::test_who_waits_takes_the_place_of_nobody_who_works",),
    ),
    Mutant(
        name="where the feed ends is told before what is committed has a position",
        kind="dropped",
        file="crm_api/feed/service.py",
        text="""    if head.unnumbered:
        await assign_all_positions(database)
""",
        instead="""    if head.unnumbered:
""",
        tests=("tests/crm_api/test_feed_head.py::test_what_no_reader_has_seen_counts",),
    ),
    Mutant(
        name="pruning goes beyond the slowest reader",
        kind="condition",
        file="crm_api/feed/service.py",
        text="if slowest is None or through <= slowest.position:",
        instead="if slowest is None or through >= slowest.position:",
        tests=(f"{_FEED_PRUNING}::test_pruning_stops_at_the_slowest_reader_and_names_it",),
    ),
    Mutant(
        name="an event that is not numbered is called pruned",
        kind="condition",
        file="crm_api/feed/service.py",
        text="    if position > head.last_position:\n        raise EventNotFound",
        instead="    if position < head.last_position:\n        raise EventNotFound",
        tests=(f"{_FEED}::test_an_event_that_is_not_there_yet_is_told_from_one_that_is_pruned",),
    ),
    Mutant(
        name="an event that nobody has read yet is not found",
        kind="dropped",
        file="crm_api/feed/service.py",
        text="            await assign_all_positions(database)\n    return await database.read(get",
        instead="            pass\n    return await database.read(get",
        tests=(f"{_FEED}::test_an_event_is_found_though_nobody_has_read_that_far",),
    ),
    Mutant(
        name="a reader is kept events for at the very end of its seven days",
        kind="boundary",
        file="crm_api/feed/store.py",
        text="""_READERS = select(feed_readers).where(
    feed_readers.c.announced_at > bindparam""",
        instead="""_READERS = select(feed_readers).where(
    feed_readers.c.announced_at >= bindparam""",
        tests=(f"{_FEED_READERS}::test_a_reader_that_says_nothing_for_seven_days_is_none",),
    ),
    Mutant(
        name="a reader may be one position further than its cursor",
        kind="boundary",
        file="crm_api/feed/readers.py",
        text="if put.position > read:",
        instead="if put.position > read + 1:",
        tests=(f"{_FEED_READERS}::test_nobody_is_further_than_its_cursor",),
    ),
    Mutant(
        name="there is one reader more than there may be",
        kind="boundary",
        file="crm_api/feed/readers.py",
        text="if store.count_readers(db) >= MOST_READERS:",
        instead="if store.count_readers(db) > MOST_READERS:",
        tests=(f"{_FEED_READERS}::test_there_are_a_hundred_readers_at_most",),
    ),
    Mutant(
        name="the fastest reader holds events",
        kind="order",
        file="crm_api/feed/store.py",
        text="_READERS.order_by(feed_readers.c.position, ",
        instead="_READERS.order_by(feed_readers.c.position.desc(), ",
        tests=(f"{_FEED_PRUNING}::test_pruning_stops_at_the_slowest_reader_and_names_it",),
    ),
    Mutant(
        name="readers hold events against --force",
        kind="scope",
        file="crm_api/feed/service.py",
        text="slowest = None if force else store",
        instead="slowest = store",
        tests=(f"{_FEED_PRUNING}::test_who_says_force_deletes_what_readers_need",),
    ),
    Mutant(
        name="young events are counted as kept",
        kind="scope",
        file="crm_api/feed/store.py",
        text="events.c.position.is_not(None), events.c.occurred_at >= bindparam",
        instead="events.c.position.is_(None), events.c.occurred_at >= bindparam",
        tests=(f"{_FEED_PRUNING}::test_only_old_events_are_counted_as_kept",),
    ),
    Mutant(
        name="silent readers take the places of new ones",
        kind="dropped",
        file="crm_api/feed/readers.py",
        text="""    store.remove_silent_readers(db, now)
""",
        instead="",
        tests=(f"{_FEED_READERS}::test_there_are_a_hundred_readers_at_most",),
    ),
    Mutant(
        name="a reader announces itself while events are deleted",
        kind="dropped",
        file="crm_api/feed/readers.py",
        text="    store.lock_head(db)\n",
        instead="",
        tests=(f"{_FEED_PRUNING}::test_who_announces_itself_while_events_are_deleted",),
        engine="both",
    ),
]
