"""Planted bugs in tickets, their deadlines and their notes."""

from tests.mutants.mutant import Mutant

_IDEMPOTENCY_KEYS = "tests/crm_api/test_idempotency_keys.py"
_LISTS = "tests/crm_api/test_ticket_lists.py"
_SLA = "tests/crm_api/test_sla.py"
_TICKETS = "tests/crm_api/test_tickets.py"

MUTANTS = [
    Mutant(
        name="each note of the customer starts the next response anew",
        kind="condition",
        file="crm_api/tickets/sla.py",
        text="and (asked_at is None or answered_at is not None)",
        instead="and True",
        tests=(f"{_SLA}::test_the_next_response_runs_from_the_first_unanswered_note",),
    ),
    Mutant(
        name="a customer's note reopens what is on hold",
        kind="condition",
        file="crm_api/tickets/service.py",
        text='    return ticket.status == "pending"',
        instead="    return ticket.status in lifecycle.WAITING",
        tests=(f"{_TICKETS}::test_what_a_customer_writes_in_public_reopens",),
    ),
    Mutant(
        name="a follow-up may be of another customer's ticket",
        kind="condition",
        file="crm_api/tickets/service.py",
        text=" or earlier.customer_id != customer_id:",
        instead=":",
        tests=(f"{_TICKETS}::test_a_closed_ticket_changes_no_more_and_is_followed_up",),
    ),
    Mutant(
        name="a target that is used up exactly is breached",
        kind="boundary",
        file="crm_api/tickets/sla.py",
        text="if used > target:",
        instead="if used >= target:",
        tests=(f"{_SLA}::test_the_first_response_waits_for_an_agents_public_note",),
    ),
    Mutant(
        name="a pause that begins when the target is used up does not delay the deadline",
        kind="boundary",
        file="crm_api/tickets/sla.py",
        text="if span.end - span.start > left:",
        instead="if span.end - span.start >= left:",
        tests=(f"{_SLA}::test_the_resolution_stands_still_while_someone_else_has_to_act",),
    ),
    Mutant(
        name="seven days to the second are too long to reopen",
        kind="boundary",
        file="crm_api/tickets/lifecycle.py",
        text="now - resolved_at <= REOPEN_WINDOW",
        instead="now - resolved_at < REOPEN_WINDOW",
        tests=(f"{_TICKETS}::test_seven_days_to_the_second_are_not_too_long_to_reopen",),
    ),
    Mutant(
        name="a full page of the history does not look whether there is another",
        kind="boundary",
        file="crm_api/tickets/store.py",
        text="statement = page_after(statement, ticket_history.c.id, after, limit + 1)",
        instead="statement = page_after(statement, ticket_history.c.id, after, limit)",
        tests=(f"{_TICKETS}::test_pages_lead_to_everything_once",),
    ),
    Mutant(
        name="of tickets with one deadline a page shows those it ends among only in part",
        kind="boundary",
        file="crm_api/tickets/lists.py",
        text="[tuple_(_DUE_AT, tickets.c.id) > key, _DUE_AT.is_(None)]",
        instead="[literal(due_at, UtcDateTime) < _DUE_AT, _DUE_AT.is_(None)]",
        tests=(f"{_LISTS}::test_pages_show_what_a_filter_leaves_once_and_in_order",),
    ),
    Mutant(
        name="a deadline is computed before the change is in the history",
        kind="order",
        file="crm_api/tickets/service.py",
        text='        happened = (Entry(now, "status", status), *happened)\n',
        instead="        happened = (*happened,)\n",
        tests=(f"{_TICKETS}::test_overdue_is_what_is_past_a_deadline_and_not_met",),
    ),
    Mutant(
        name="a deadline is computed before the note is there",
        kind="order",
        file="crm_api/tickets/service.py",
        text="changed = _write(db, ticket, changes, policy, now, *happened)",
        instead="changed = _write(db, ticket, changes, policy, now)",
        tests=(f"{_TICKETS}::test_a_late_answer_is_an_answer",),
    ),
    Mutant(
        name="an internal note answers the customer",
        kind="scope",
        file="crm_api/tickets/store.py",
        text='.where(notes.c.ticket_id == tickets.c.id, notes.c.visibility == "public")',
        instead=".where(notes.c.ticket_id == tickets.c.id)",
        tests=(f"{_TICKETS}::test_a_public_note_of_an_agent_is_a_response_and_no_other",),
    ),
    Mutant(
        name="setting one ticket's tags removes those of all",
        kind="scope",
        file="crm_api/tickets/store.py",
        text="""    db.execute(delete(ticket_tags).where(ticket_tags.c.ticket_id == ticket_id))
    if tags""",
        instead="""    db.execute(delete(ticket_tags))
    if tags""",
        tests=(f"{_TICKETS}::test_lists_filter_by_everything_that_is_promised",),
    ),
    Mutant(
        name="a note's stored answer is not tied to the customer",
        kind="scope",
        file="crm_api/tickets/router.py",
        text="subjects=[noted.ticket_uid, noted.customer_uid]",
        instead="subjects=[noted.ticket_uid]",
        tests=(
            f"{_IDEMPOTENCY_KEYS}::test_keys_of_the_tickets_and_notes_of_an_erased_person_are_gone_too",
        ),
    ),
    Mutant(
        name="who may not read customers is shown those of tickets",
        kind="scope",
        file="crm_api/tickets/router.py",
        text="        check_scopes(who, _INCLUDES_CUSTOMERS)\n",
        instead="        pass\n",
        tests=(f"{_LISTS}::test_who_may_not_read_customers_is_shown_none",),
    ),
    Mutant(
        name="a ticket is not locked for its change",
        kind="scope",
        file="crm_api/tickets/store.py",
        text='        db.execute(_LOCK, {"id": ticket_id})\n',
        instead="        pass\n",
        tests=(f"{_TICKETS}::test_of_agents_who_change_one_ticket_at_once_all_but_one_are_told",),
        engine="both",
    ),
    Mutant(
        name="a reopened ticket keeps the instant at which it was resolved",
        kind="dropped",
        file="crm_api/tickets/service.py",
        text="""        if status not in lifecycle.DONE:
            values["resolved_at"] = None
""",
        instead="",
        tests=(f"{_TICKETS}::test_a_ticket_says_since_when_it_is_resolved_and_closed",),
    ),
    Mutant(
        name="a note that reopens leaves no event of it",
        kind="dropped",
        file="crm_api/tickets/service.py",
        text="record(db, TicketNoteAdded(ticket, note), *changed, by=who)",
        instead="record(db, TicketNoteAdded(ticket, note), by=who)",
        tests=(f"{_TICKETS}::test_a_note_that_reopens_leaves_an_event_of_each",),
    ),
    Mutant(
        name="the text of a deleted ticket stays in the search",
        kind="dropped",
        file="crm_api/tickets/store.py",
        text="    SEARCH.remove(db, ticket_id)\n",
        instead="",
        tests=(f"{_TICKETS}::test_a_deleted_ticket_is_gone_with_all_that_hung_on_it",),
    ),
    Mutant(
        name="a deleted ticket is left in stored answers",
        kind="dropped",
        file="crm_api/tickets/store.py",
        text="    stored_answers.forget(db, [ticket.uid])\n",
        instead="",
        tests=(f"{_IDEMPOTENCY_KEYS}::test_the_text_of_a_deleted_ticket_is_in_no_stored_answer",),
    ),
]
