"""Planted bugs in the counts."""

from tests.mutants.mutant import Mutant

_STATS = "tests/crm_api/test_stats.py"

MUTANTS = [
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
