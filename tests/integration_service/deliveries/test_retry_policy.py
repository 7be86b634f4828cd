"""The table of outcomes, row by row."""

from datetime import UTC, datetime, timedelta

import pytest

from integration_service.deliveries import claims
from integration_service.deliveries.models import Claimed
from integration_service.deliveries.retry_policy import (
    GIVE_UP_SECONDS,
    LEAST_ATTEMPTS,
    AfterCall,
    after_call,
    decide,
    raise_if_misconfigured,
    wait_seconds,
)
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import (
    LONGEST_RETRY_AFTER_SECONDS,
    CallFailed,
    Gone,
    Misconfigured,
    NotAccepted,
    Refused,
    RefusedAsErased,
    Timeout,
    TooLarge,
    Transient,
    Unfit,
)
from integration_service.targets.target import Made, Result

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
MADE = Made(201, "r-1")


def claimed(id_: int = 1, **changed: object) -> Claimed:
    fresh = Claimed(id_, "welcome-package", f"c{id_}", 1, None, 1, None, 0, None, 0.0)
    return fresh._replace(**changed)


def circuit(**changed: object) -> Circuit:
    found = Circuit("inventory", "Inventory", 5, 5.0, 60.0, monotonic=lambda: 0.0)
    for name, value in changed.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("failure", "of_many", "of_one"),
    [
        (Transient("x"), AfterCall.RETRY, AfterCall.RETRY),
        (Timeout("x"), AfterCall.RETRY, AfterCall.RETRY),
        (TooLarge("x"), AfterCall.RETRY, AfterCall.RETRY),
        (Unfit("x"), AfterCall.HALVE, AfterCall.RETRY),
        (NotAccepted("x"), AfterCall.RETRY, AfterCall.RETRY),
        (Misconfigured("x"), AfterCall.GIVE_BACK, AfterCall.GIVE_BACK),
        (Gone("x"), AfterCall.GIVE_BACK, AfterCall.GIVE_BACK),
    ],
)
def test_what_a_failed_call_leads_to(
    failure: CallFailed, of_many: AfterCall, of_one: AfterCall
) -> None:
    assert after_call([claimed(1), claimed(2)], failure, circuit()) is of_many
    assert after_call([claimed(1)], failure, circuit()) is of_one
    assert after_call([claimed(1)], failure, circuit(opened_at=NOW)) is AfterCall.GIVE_BACK


@pytest.mark.parametrize(
    "failure",
    [Transient("x", status=500), Unfit("x", status=422), NotAccepted("x", status=404)],
)
def test_a_delivery_that_fails_while_others_succeed_is_retried_alone(failure: CallFailed) -> None:
    failed = claimed(first_failed_at=NOW, tried_seconds_before=5.0)

    def action(succeeded_seconds: float) -> AfterCall:
        return after_call([failed], failure, circuit(succeeded_seconds=succeeded_seconds))

    assert action(5.0) is AfterCall.RETRY_IT_ALONE
    assert action(4.9) is AfterCall.RETRY


@pytest.mark.parametrize(
    ("result", "state", "error_class"),
    [
        (MADE, "delivered", None),
        (RefusedAsErased("x"), "undone", None),
        (Refused("x"), "dead", "refused"),
        (Transient("x"), "retrying", "transient"),
        (TooLarge("x"), "retrying", "transient"),
        (Unfit("x"), "retrying", "transient"),
        (NotAccepted("x"), "retrying", "transient"),
    ],
)
def test_what_an_attempt_leads_to(result: Result, state: str, error_class: str | None) -> None:
    decided = decide(claimed(), result, circuit(), NOW, 1.5)

    assert (decided.state, decided.error_class) == (state, error_class)
    assert (decided.next_attempt_at is not None) is (state == "retrying")


@pytest.mark.parametrize(
    ("attempts", "seconds", "state"),
    [
        (LEAST_ATTEMPTS - 1, GIVE_UP_SECONDS, "dead"),
        (LEAST_ATTEMPTS - 2, GIVE_UP_SECONDS, "retrying"),
        (LEAST_ATTEMPTS - 1, GIVE_UP_SECONDS - 1, "retrying"),
    ],
)
def test_it_is_given_up_only_after_enough_attempts_and_enough_time(
    attempts: int, seconds: float, state: str
) -> None:
    failed = claimed(attempt_count=attempts, first_failed_at=NOW, tried_seconds_before=7.0)

    decided = decide(failed, Transient("x"), circuit(tried_seconds=7.0 + seconds), NOW, 1.5)

    assert decided.state == state


def test_a_retry_waits_no_less_than_it_is_asked_to() -> None:
    decided = decide(claimed(), Transient("x", retry_after=60.0), circuit(), NOW, 1.5)

    assert decided.next_attempt_at is not None
    assert decided.next_attempt_at >= NOW + timedelta(seconds=60)


def test_configuration_is_of_the_whole_call_or_of_none_of_it() -> None:
    wrong = Misconfigured("it answered 403", status=403, problem={"type": "urn:problem:x"})

    with pytest.raises(Misconfigured):
        raise_if_misconfigured([wrong, Refused("x")])
    made, other = raise_if_misconfigured([MADE, wrong])

    assert made is MADE
    assert type(other) is Transient
    assert (other.error, other.status, other.problem) == (wrong.error, 403, wrong.problem)


def test_no_wait_looks_like_one_by_a_clock_that_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", lambda _least, most: most)

    longest = wait_seconds(10**9, LONGEST_RETRY_AFTER_SECONDS)

    # What is due later than that is sent at once, and so would be tried without any wait.
    assert timedelta(seconds=longest) <= claims.LONGEST_WAIT
