"""A ticket's deadlines are a pure function of its history, the targets and an instant."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_api.tickets import lifecycle, sla
from crm_api.tickets.sla import Entry, parse_targets

POLICY = parse_targets("urgent=1h/4h,high=4h/1d,normal=8h/3d,low=1d/7d")
START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def after(**time: float) -> datetime:
    return START + timedelta(**time)


def at(hours: float, what: str) -> Entry:
    if what in lifecycle.STATUSES:
        return Entry(after(hours=hours), "status", what)
    return Entry(after(hours=hours), what)


def read(history, now: datetime, priority="urgent") -> sla.Sla:
    return sla.clocks(START, priority, history, POLICY, now)


happenings = st.lists(
    st.builds(
        at,
        st.floats(0, 100, allow_nan=False),
        st.sampled_from([*lifecycle.STATUSES, "agent_note", "customer_note"]),
    ),
    max_size=12,
)
instants = st.floats(0, 200, allow_nan=False).map(lambda hours: after(hours=hours))
priorities = st.sampled_from(lifecycle.PRIORITIES)


@pytest.mark.parametrize(
    ("history", "hours", "state"),
    [
        ([], 0.5, "running"),
        ([], 1, "running"),
        ([], 1.5, "breached"),
        ([at(0.5, "agent_note")], 2, "met"),
        ([at(1, "agent_note")], 2, "met"),
        ([at(1.5, "agent_note")], 2, "breached"),
        ([at(0.2, "customer_note")], 0.5, "running"),
    ],
)
def test_the_first_response_waits_for_an_agents_public_note(history, hours, state) -> None:
    clock = read(history, after(hours=hours)).first_response

    assert (clock.state, clock.due_at) == (state, after(hours=1))


@pytest.mark.parametrize(
    ("history", "hours", "state", "due_hours"),
    [
        ([at(1, "customer_note")], 1.5, "running", 2),
        ([at(1, "customer_note"), at(1.5, "customer_note")], 1.8, "running", 2),
        ([at(1, "customer_note"), at(1.5, "agent_note")], 9, "met", 2),
        ([at(1, "customer_note"), at(1.5, "agent_note"), at(3, "customer_note")], 5, "breached", 4),
    ],
)
def test_the_next_response_runs_from_the_first_unanswered_note(
    history, hours, state, due_hours
) -> None:
    clock = read(history, after(hours=hours)).next_response

    assert clock is not None
    assert (clock.state, clock.due_at) == (state, after(hours=due_hours))


@pytest.mark.parametrize(
    ("history", "hours", "state", "used_hours", "due_hours"),
    [
        ([at(0.5, "closed")], 9, "paused", 0.5, None),
        ([at(0.5, "pending")], 0.8, "running", 0.8, 1),
        ([at(0.5, "resolved"), at(3, "open")], 3.2, "running", 0.7, 3.5),
        ([at(0.5, "resolved"), at(3, "open"), at(3.1, "agent_note")], 9, "met", 0.6, 3.5),
        ([at(0.5, "resolved"), at(3, "agent_note")], 9, "met", 0.5, 1),
        ([at(2, "closed")], 9, "breached", 2, 1),
    ],
)
def test_nobody_awaits_a_response_while_the_ticket_is_done(
    history, hours, state, used_hours, due_hours
) -> None:
    asked = [at(0, "customer_note"), *history]
    now = after(hours=hours)

    for clock in (read(history, now).first_response, read(asked, now).next_response):
        assert clock is not None
        assert (clock.state, clock.used) == (state, timedelta(hours=used_hours))
        assert clock.due_at == (None if due_hours is None else after(hours=due_hours))


@pytest.mark.parametrize("closed_after", [0.5, 9])
def test_a_ticket_that_is_done_is_not_overdue(closed_after: float) -> None:
    history = [at(0.1, "customer_note"), at(closed_after, "closed")]

    assert sla.first_due(read(history, after(hours=20))) is None


def test_what_a_customer_says_about_a_ticket_that_is_done_starts_no_clock() -> None:
    clock = read([at(1, "closed"), at(2, "customer_note")], after(hours=9)).next_response

    assert clock is not None
    assert (clock.state, clock.used) == ("paused", timedelta())


def test_without_a_customers_note_there_is_no_next_response() -> None:
    assert read([at(1, "agent_note")], after(hours=2)).next_response is None


@pytest.mark.parametrize(
    ("history", "hours", "state", "used_hours", "due_hours"),
    [
        ([], 3, "running", 3, 4),
        ([at(4, "resolved")], 9, "met", 4, 4),
        ([at(1, "pending")], 9, "paused", 1, None),
        ([at(1, "on_hold"), at(9, "in_progress")], 10, "running", 2, 12),
        ([at(1, "resolved")], 9, "met", 1, 4),
        ([at(1, "resolved"), at(9, "open")], 11, "running", 3, 12),
        ([at(4, "pending"), at(9, "open")], 9, "running", 4, 9),
        ([at(5, "closed")], 9, "breached", 5, 4),
        ([at(1, "pending"), at(2, "on_hold"), at(3, "open")], 4, "running", 2, 6),
    ],
)
def test_the_resolution_stands_still_while_someone_else_has_to_act(
    history, hours, state, used_hours, due_hours
) -> None:
    clock = read(history, after(hours=hours)).resolution

    assert (clock.state, clock.used) == (state, timedelta(hours=used_hours))
    assert clock.due_at == (None if due_hours is None else after(hours=due_hours))


@given(happenings, priorities, instants, st.randoms())
def test_it_is_the_same_however_often_and_in_whatever_order_it_is_computed(
    history, priority, now, random
) -> None:
    # Two things at one instant have no order of their own, so each gets an instant.
    history = [
        Entry(e.at + timedelta(microseconds=i), e.what, e.status) for i, e in enumerate(history)
    ]
    shuffled = list(history)
    random.shuffle(shuffled)

    assert read(history, now, priority) == read(shuffled, now, priority)


@given(happenings, priorities, instants, instants)
def test_what_a_clock_has_used_never_shrinks(history, priority, one, other) -> None:
    earlier, later = sorted([one, other])
    before, afterwards = read(history, earlier, priority), read(history, later, priority)

    assert before.resolution.used <= afterwards.resolution.used
    assert before.first_response.used <= afterwards.first_response.used
    if before.resolution.state == "breached":
        assert afterwards.resolution.state == "breached"


@given(happenings, instants)
def test_another_priority_changes_the_target_and_not_what_was_used(history, now) -> None:
    used = {read(history, now, priority).resolution.used for priority in lifecycle.PRIORITIES}

    assert len(used) == 1


@given(happenings, priorities, instants)
def test_a_clock_is_due_when_its_target_is_used_up(history, priority, now) -> None:
    clock = read(history, now, priority).resolution

    if clock.state == "running":
        assert clock.due_at == now + clock.target - clock.used
    if clock.state == "breached":
        assert clock.due_at is not None
        assert clock.due_at <= now


@pytest.mark.parametrize(
    "text",
    [
        "",
        "urgent=1h/4h",
        "urgent=1h",
        "soon=1h/4h",
        "urgent=0h/1h,high=1h/1h,normal=1h/1h,low=1h/1h",
    ],
)
def test_targets_that_are_incomplete_or_misspelt_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"target|entry|priorities"):
        parse_targets(text)
