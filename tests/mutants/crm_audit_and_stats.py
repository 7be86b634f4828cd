"""Planted bugs in the audit and in the counts."""

from tests.mutants.mutant import Mutant

_AUDIT = "tests/crm_api/test_audit.py"
_STATS = "tests/crm_api/test_stats.py"
_TOKENS = "tests/crm_api/test_tokens.py"

AUDIT = [
    Mutant(
        name="entries of a caller are looked for on a connection for short reads",
        kind="condition",
        file="service_kit/web/audit.py",
        text="return self == Filter(subject=self.subject, ascending=self.ascending)",
        instead="return self == Filter(self.actor, subject=self.subject, ascending=self.ascending)",
        tests=(f"{_AUDIT}::test_what_no_index_finds_is_read_where_nobody_is_kept_waiting",),
    ),
    Mutant(
        name="an entry of the instant itself came after it",
        kind="boundary",
        file="service_kit/web/audit.py",
        text="columns.at > filters.created_after",
        instead="columns.at >= filters.created_after",
        tests=(f"{_AUDIT}::test_entries_are_found_by_who_what_on_what_and_when",),
    ),
    Mutant(
        name="a full page of entries does not look whether there is another",
        kind="boundary",
        file="service_kit/web/audit.py",
        text="after, limit + 1, ascending",
        instead="after, limit, ascending",
        tests=(f"{_AUDIT}::test_pages_lead_to_every_entry_once",),
    ),
    Mutant(
        name="a cursor of one order serves the other",
        kind="order",
        file="service_kit/web/audit.py",
        text='        order = "id" if filters.ascending else "-id"\n',
        instead='        order = "id"\n',
        tests=(f"{_AUDIT}::test_a_cursor_of_one_order_is_refused_by_the_other",),
    ),
    Mutant(
        name="newest first shows the oldest",
        kind="order",
        file="service_kit/web/audit.py",
        text="page_after(statement, columns.id, after, limit + 1, ascending=filters.ascending)",
        instead="page_after(statement, columns.id, after, limit + 1)",
        tests=(f"{_AUDIT}::test_entries_are_found_by_who_what_on_what_and_when",),
    ),
    Mutant(
        name="a filter by request shows the entries of all",
        kind="scope",
        file="service_kit/web/audit.py",
        text='("actor", "action", "subject", "request_id")',
        instead='("actor", "action", "subject")',
        tests=(f"{_AUDIT}::test_entries_are_found_by_who_what_on_what_and_when",),
    ),
    Mutant(
        name="an entry names the caller's role",
        kind="scope",
        file="service_kit/web/audit.py",
        text='"actor": by.name',
        instead='"actor": by.role',
        tests=(f"{_TOKENS}::test_a_token_may_do_what_its_role_may_and_its_name_is_written_down",),
    ),
    Mutant(
        name="of a batch the first alone leaves an entry",
        kind="dropped",
        file="service_kit/web/audit.py",
        text="            self._add.each(db, rows)\n",
        instead="            self._add.each(db, rows[:1])\n",
        tests=(f"{_AUDIT}::test_a_batch_leaves_an_entry_for_each_that_was_added_in_one_statement",),
    ),
]

STATS = [
    Mutant(
        name="a status that no ticket has is left out",
        kind="condition",
        file="crm_api/stats/store.py",
        text="for status in STATUSES}",
        instead="for status in STATUSES if by_status[status]}",
        tests=(f"{_STATS}::test_an_empty_crm_counts_nothing",),
    ),
    Mutant(
        name="a ticket is not overdue at the instant at which it is due",
        kind="boundary",
        file="crm_api/stats/store.py",
        text='tickets.c.due_at <= bindparam("overdue_at")',
        instead='tickets.c.due_at < bindparam("overdue_at")',
        tests=(f"{_STATS}::test_a_ticket_is_overdue_from_the_instant_at_which_it_is_due",),
    ),
    Mutant(
        name="the head is read before what is not numbered",
        kind="order",
        file="crm_api/stats/store.py",
        text="    _HEAD.scalar_subquery(),\n",
        instead="    select(feed_head.c.last_position).scalar_subquery(),\n",
        tests=(
            f"{_STATS}::test_what_comes_and_goes_while_it_counts_is_counted_as_before_or_after",
        ),
        engine="both",
    ),
    Mutant(
        name="erased customers are counted",
        kind="scope",
        file="crm_api/stats/store.py",
        text="    _CUSTOMERS.scalar_subquery() - _ERASED.scalar_subquery(),\n",
        instead="    _CUSTOMERS.scalar_subquery(),\n",
        tests=(f"{_STATS}::test_customers_and_tickets_are_counted",),
    ),
    Mutant(
        name="the head does not count what is not numbered",
        kind="dropped",
        file="crm_api/stats/store.py",
        text="select(feed_head.c.last_position + _UNNUMBERED.scalar_subquery())",
        instead="select(feed_head.c.last_position)",
        tests=(f"{_STATS}::test_the_feed_head_is_the_one_that_a_reader_finds",),
    ),
]

MUTANTS = AUDIT + STATS
