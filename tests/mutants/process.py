"""Planted bugs in the kit's process package."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/service_kit"
_PROTOCOL = f"{_TESTS}/test_protocol.py"
_RETENTION = f"{_TESTS}/test_retention.py"
_RATES = f"{_TESTS}/test_rate_limits.py"

MUTANTS = [
    Mutant(
        name="production takes demo tokens where none is set",
        kind="condition",
        file="service_kit/process/settings.py",
        text='return self.environment == "development" and not self.api_tokens',
        instead="return not self.api_tokens",
        tests=(f"{_TESTS}/test_settings.py::test_production_starts_with_tokens_of_its_own",),
    ),
    Mutant(
        name="a head may have one header less than it may have",
        kind="boundary",
        file="service_kit/process/protocol.py",
        text="if len(self.headers) > self.max_header_count:",
        instead="if len(self.headers) >= self.max_header_count:",
        tests=(f"{_PROTOCOL}::test_a_head_may_have_100_headers",),
    ),
    Mutant(
        name="who asks again too early has to wait longer",
        kind="order",
        file="service_kit/process/rates.py",
        text="""        if not (taken := self._taken(full_in)).is_allowed:
            return taken
        self._full_at[caller] = now + full_in
""",
        instead="""        self._full_at[caller] = now + full_in
        if not (taken := self._taken(full_in)).is_allowed:
            return taken
""",
        tests=(f"{_RATES}::test_a_caller_may_ask_twice_the_rate_at_once_and_then_at_the_rate",),
    ),
    Mutant(
        name="a line about another request has the id of this one",
        kind="scope",
        file="service_kit/process/logs.py",
        text='fields.setdefault("request_id", request_id)',
        instead='fields["request_id"] = request_id',
        tests=(f"{_TESTS}/test_logs.py::test_a_line_may_name_another_request",),
    ),
    Mutant(
        name="a volume somewhere else counts as the database's",
        kind="scope",
        file="service_kit/process/volumes.py",
        text='any(str(parent) in points for parent in path.parents if parent != Path("/"))',
        instead='points - {"/"}',
        tests=(f"{_TESTS}/test_volumes.py::test_with_a_volume_it_says_nothing",),
    ),
    Mutant(
        name="who stops waiting for the metrics stops them for all",
        kind="scope",
        file="service_kit/process/metrics.py",
        text="return await asyncio.shield(latest), CONTENT_TYPE_LATEST",
        instead="return await latest, CONTENT_TYPE_LATEST",
        tests=(
            f"{_TESTS}/test_metrics.py::test_metrics_are_written_once_a_second_for_all_who_ask",
        ),
    ),
    Mutant(
        name="the words of an error go to the receiver of traces",
        kind="scope",
        file="service_kit/process/tracing.py",
        text="record_exception=False,",
        instead="record_exception=True,",
        tests=(
            f"{_TESTS}/test_tracing.py::test_a_span_names_the_kind_of_an_error_and_none_of_its_words",
        ),
    ),
    Mutant(
        name="without a receiver of traces a caller's span is not handed on",
        kind="scope",
        file="service_kit/process/tracing.py",
        text="if not (contexts or _is_on()",
        instead="if not (_is_on()",
        tests=("tests/crm_api/test_feed.py::test_an_event_names_the_span_it_came_about_in",),
    ),
    Mutant(
        name="the timer of a connection outlives it",
        kind="dropped",
        file="service_kit/process/protocol.py",
        text="""        self._timer.cancel()
        for cycle""",
        instead="        for cycle",
        tests=(f"{_PROTOCOL}::test_no_timer_outlives_its_connection",),
    ),
    Mutant(
        name="of many callers the busiest is forgotten first",
        kind="dropped",
        file="service_kit/process/rates.py",
        text="        self._full_at.move_to_end(caller)\n",
        instead="",
        tests=(f"{_RATES}::test_who_asks_most_is_not_forgotten_for_whoever_comes",),
    ),
    Mutant(
        name="a sleep leaves behind what it has waited for",
        kind="dropped",
        file="service_kit/process/stopping.py",
        text="""            for one in waiting:
                one.cancel()
""",
        instead="            pass\n",
        tests=(f"{_TESTS}/test_stopping.py",),
    ),
    Mutant(
        name="a token of 31 characters is long enough",
        kind="boundary",
        file="service_kit/process/configured_tokens.py",
        text="len(configured) < SHORTEST",
        instead="len(configured) < SHORTEST - 1",
        tests=(
            f"{_TESTS}/test_settings.py::test_short_tokens_are_named_by_their_places_in_production",
        ),
    ),
    Mutant(
        name="a demo token in capitals starts production",
        kind="condition",
        file="service_kit/process/configured_tokens.py",
        text="return configured.lower() in",
        instead="return configured in",
        tests=(
            f"{_TESTS}/test_settings.py::test_production_refuses_every_demo_token_and_says_whose",
        ),
    ),
    Mutant(
        name="the Host header counts where the target names another host",
        kind="dropped",
        file="service_kit/process/protocol.py",
        text="            self._take_host_of_target()\n",
        instead="            pass\n",
        tests=(f"{_PROTOCOL}::test_of_a_whole_url_as_the_target_its_host_counts",),
    ),
    Mutant(
        name="nothing is pruned after the first hour",
        kind="dropped",
        file="service_kit/process/retention.py",
        text="    while not stopping.begun:\n        for one",
        instead="    if not stopping.begun:\n        for one",
        tests=(f"{_RETENTION}::test_the_timer_prunes_again_and_again",),
    ),
    Mutant(
        name="what is kept for 0 days is deleted at once",
        kind="condition",
        file="service_kit/process/retention.py",
        text="return now - timedelta(days=days) if days else None",
        instead="return now - timedelta(days=days)",
        tests=(f"{_RETENTION}::test_a_setting_says_for_how_many_days",),
    ),
]
