"""Planted bugs in the integration: what is owed and sent, comparisons, operations."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/integration_service"
_LEASE = f"{_TESTS}/ledger/test_lease.py"
_AHEAD = f"{_TESTS}/feed/test_sent_ahead.py"
_DISPATCH = f"{_TESTS}/deliveries/test_dispatch.py"
_POLICY = f"{_TESTS}/deliveries/test_retry_policy.py"
_CONTROL = f"{_TESTS}/operations/test_control.py"
_CIRCUIT = f"{_TESTS}/targets/test_circuit.py"
_FAILURES = f"{_TESTS}/targets/test_failures.py"
_WIRE = f"{_TESTS}/targets/test_wire.py"
_RECONCILE = f"{_TESTS}/reconcile/test_reconcile.py"
_ERASING = f"{_TESTS}/deliveries/test_erasing.py"
_READDRESSING = f"{_TESTS}/deliveries/test_readdressing.py"
_COMMANDS = f"{_TESTS}/operations/test_commands.py"
_MINUTES = f"{_TESTS}/deliveries/test_minutes.py"
_SAVE = "await self._database.write(claims.save_settlements, lease, self._route.name, settlements)"

DELIVERIES = [
    Mutant(
        name="yesterday's deliveries are counted with today's",
        kind="condition",
        file="integration_service/deliveries/minutes.py",
        text='"{0} = excluded.{0} + CASE WHEN " + _IS_SAME + " THEN',
        instead='"{0} = excluded.{0} + CASE WHEN 1 = 1 THEN',
        tests=(f"{_MINUTES}::test_a_day_is_kept_and_no_more",),
    ),
    Mutant(
        name="an address is told before its package is there",
        kind="condition",
        file="integration_service/deliveries/destinations.py",
        text="_SHOWN.where(IS_SENDING, ~_HAS_NO_PACKAGE_YET)",
        instead='_SHOWN.where(IS_SENDING, bindparam("epoch") > 0)',
        tests=(f"{_READDRESSING}::test_of_a_dead_delivery_the_address_waits_for_its_retry",),
    ),
    Mutant(
        name="an erased customer's address stays in the ledger",
        kind="dropped",
        file="integration_service/deliveries/erasures.py",
        text='    db.execute(_FORGET_ADDRESS, {"uids": uids})\n',
        instead="",
        tests=(f"{_READDRESSING}::test_an_erased_customers_address_is_nowhere_and_not_told",),
    ),
    Mutant(
        name="what failed ten times is given up however short that was",
        kind="condition",
        file="integration_service/deliveries/retry_policy.py",
        text="GIVE_UP_SECONDS and delivery.attempt_count",
        instead="GIVE_UP_SECONDS or delivery.attempt_count",
        tests=(f"{_POLICY}::test_it_is_given_up_only_after_enough_attempts_and_enough_time",),
    ),
    Mutant(
        name="one attempt more than the least is made before it is given up",
        kind="boundary",
        file="integration_service/deliveries/retry_policy.py",
        text="delivery.attempt_count + 1 >= LEAST_ATTEMPTS",
        instead="delivery.attempt_count >= LEAST_ATTEMPTS",
        tests=(f"{_POLICY}::test_it_is_given_up_only_after_enough_attempts_and_enough_time",),
    ),
    Mutant(
        name="new customers are sent ahead of those who wait",
        kind="order",
        file="integration_service/deliveries/claims.py",
        text="        ~exists().where(UNFINISHED, _OF_ROUTE, _FRESH),\n",
        instead="",
        tests=(f"{_AHEAD}::test_nobody_overtakes_who_waits",),
    ),
    Mutant(
        name="who is known is sent ahead once more",
        kind="scope",
        file="integration_service/deliveries/claims.py",
        text="        ~exists().where(_IS_OF_THESE),\n",
        instead="",
        tests=(f"{_AHEAD}::test_who_is_known_is_not_sent_again",),
    ),
    Mutant(
        name="a success is told before it is written down",
        kind="order",
        file="integration_service/deliveries/dispatch.py",
        text=f"""        {_SAVE}
        log_settled([(one.subject, its) for one, its in zip(batch, settlements, strict=True)])
""",
        instead=f"""        outcomes = zip([one.subject for one in batch], settlements, strict=True)
        log_settled(list(outcomes))
        {_SAVE}
""",
        tests=(f"{_DISPATCH}::test_what_could_not_be_written_down_is_sent_again",),
    ),
    Mutant(
        name="an arrival during a look at what is due waits for the next nap to end",
        kind="order",
        file="integration_service/deliveries/dispatch.py",
        text="""                self._work_ready.clear()
                nap = await self.start_batches(lease)
                await""",
        instead="""                nap = await self.start_batches(lease)
                self._work_ready.clear()
                await""",
        tests=(f"{_DISPATCH}::test_an_arrival_during_a_look_at_what_is_due_is_seen_by_the_next",),
    ),
    Mutant(
        name="what may be at Inventory already is skipped and not undone there",
        kind="scope",
        file="integration_service/deliveries/erasures.py",
        text="deliveries.c.next_attempt_at.is_not(None), deliveries.c.never_claimed)",
        instead="deliveries.c.next_attempt_at.is_not(None))",
        tests=(f"{_ERASING}::test_what_a_dead_poller_had_claimed_may_have_arrived_and_is_undone",),
    ),
    Mutant(
        name="the second half of a batch stays claimed where the first has opened the circuit",
        kind="dropped",
        file="integration_service/deliveries/dispatch.py",
        text="""            await self._unclaim(batch[middle:], lease)
        else:
            await self._send(batch[middle:], lease)
""",
        instead="""            return
        await self._send(batch[middle:], lease)
""",
        tests=(f"{_FAILURES}::test_an_inventory_that_refuses_every_request_kills_nobody",),
    ),
    Mutant(
        name="a retry wakes nobody",
        kind="dropped",
        file="integration_service/deliveries/service.py",
        text="    db.execute(update(deliveries).where(chosen).values(**values))\n    wake(db)\n",
        instead="    db.execute(update(deliveries).where(chosen).values(**values))\n",
        tests=(f"{_CONTROL}::test_one_that_waits_no_longer_waits",),
    ),
    Mutant(
        name="a page of what is to be retried begins one too late",
        kind="boundary",
        file="integration_service/deliveries/service.py",
        text="deliveries.c.id, after, limit)",
        instead="deliveries.c.id, after + 1, limit)",
        tests=(f"{_CONTROL}::test_many_are_retried_by_state_and_class_page_by_page",),
    ),
    Mutant(
        name="an erasure does not wait for the package that is under way",
        kind="condition",
        file="integration_service/deliveries/erasures.py",
        text="""            deliveries.c.claimed_epoch == bindparam("epoch"),
        ),
    )
    .order_by(erasures.c.id)""",
        instead="""            deliveries.c.claimed_epoch < bindparam("epoch"),
        ),
    )
    .order_by(erasures.c.id)""",
        tests=(f"{_ERASING}::test_what_is_under_way_is_settled_and_then_undone",),
    ),
    Mutant(
        name="who waits misses what is finished during a look",
        kind="order",
        file="integration_service/deliveries/router.py",
        text="""            next_commit = database.committed.next()
            found = await database.read(store.find, customer_uid)
""",
        instead="""            found = await database.read(store.find, customer_uid)
            next_commit = database.committed.next()
""",
        tests=(f"{_CONTROL}::test_what_is_finished_during_a_look_is_seen_by_the_next",),
    ),
    Mutant(
        name="the time tried is written down only where a whole batch has failed",
        kind="condition",
        file="integration_service/deliveries/dispatch.py",
        text="if any(one.error_class for one in settlements):",
        instead="if all(one.error_class for one in settlements):",
        tests=(f"{_CIRCUIT}::test_time_tried_is_remembered_though_but_one_of_a_batch_has_failed",),
    ),
    Mutant(
        name="a customer is erased beside a claim of the package",
        kind="dropped",
        file="integration_service/deliveries/erasures.py",
        text="    hold(db)\n    db.execute(_NOTE",
        instead="    db.execute(_NOTE",
        tests=(f"{_LEASE}::test_a_change_waits_for_a_write_that_has_passed_the_fence",),
        engine="both",
    ),
    Mutant(
        name="one is retried beside the poller that settles it",
        kind="dropped",
        file="integration_service/deliveries/service.py",
        text="    hold(db)\n    found = retryable(db, subject, route)",
        instead="    found = retryable(db, subject, route)",
        tests=(f"{_LEASE}::test_a_change_waits_for_a_write_that_has_passed_the_fence",),
        engine="both",
    ),
    Mutant(
        name="an erasure that fails holds up the packages of others",
        kind="condition",
        file="integration_service/deliveries/erasing.py",
        text="""            if self._circuit.is_open:
                await note_failure(""",
        instead="""            if not self._circuit.is_paused:
                await note_failure(""",
        tests=(f"{_ERASING}::test_an_erasure_that_fails_keeps_no_package_from_anybody",),
    ),
]

TARGETS = [
    Mutant(
        name="a refusal is believed though it does not name its customer",
        kind="condition",
        file="integration_service/targets/failures.py",
        text='if problem.get("customer_id") != customer_uid:',
        instead='if problem.get("customer_id", customer_uid) != customer_uid:',
        tests=(
            f"{_FAILURES}::test_a_refusal_that_is_not_certainly_its_own_is_configuration_or_put_off",
        ),
    ),
    Mutant(
        name="who is asked to wait is called again at once",
        kind="condition",
        file="integration_service/targets/failures.py",
        text="        and error.status in _BLIPS\n        and not error.retry_after\n",
        instead="        and error.status in _BLIPS\n",
        tests=(f"{_FAILURES}::test_what_time_heals_is_tried_again",),
    ),
    Mutant(
        name="the circuit opens one failure too late",
        kind="boundary",
        file="integration_service/targets/circuit.py",
        text="if self.failures < self.threshold and",
        instead="if self.failures <= self.threshold and",
        tests=(f"{_CIRCUIT}::test_it_opens_after_five_transient_failures_in_a_row",),
    ),
    Mutant(
        name="the time of an outage makes a delivery older",
        kind="order",
        file="integration_service/targets/circuit.py",
        text="""            self.opened_at = now
            self._try_or_rest()
""",
        instead="""            self._try_or_rest()
            self.opened_at = now
""",
        tests=(f"{_CIRCUIT}::test_time_that_the_link_was_down_does_not_age_a_delivery",),
    ),
    Mutant(
        name="only the head of an answer has a deadline",
        kind="scope",
        file="integration_service/targets/http.py",
        text="""                try:
                    content = await _read(response)
                finally:
                    await response.aclose()
""",
        instead="""            try:
                content = await _read(response)
            finally:
                await response.aclose()
""",
        tests=(f"{_WIRE}::test_a_server_that_comes_to_no_end_is_tried_again_in_time",),
    ),
    Mutant(
        name="a package of somebody else is counted as the customer's own",
        kind="scope",
        file="integration_service/targets/inventory.py",
        text='if one.customer_id == customer_uid and (cancelled or one.status != "cancelled")',
        instead='if cancelled or one.status != "cancelled"',
        tests=(f"{_FAILURES}::test_what_a_list_shows_of_others_is_not_counted",),
    ),
    Mutant(
        name="an answer that is not read to its end keeps its connection",
        kind="dropped",
        file="integration_service/targets/http.py",
        text="                    await response.aclose()\n",
        instead="                    pass\n",
        tests=(f"{_FAILURES}::test_an_answer_that_is_not_read_to_its_end_is_closed",),
    ),
    Mutant(
        name="the pace of one answer is kept for ever",
        kind="dropped",
        file="integration_service/targets/pace.py",
        text='int(left["left"]) * 2 >= int(policy["quota"]):\n            self._interval = 0.0\n',
        instead='int(left["left"]) * 2 >= int(policy["quota"]):\n            return\n',
        tests=(
            f"{_TESTS}/targets/test_pace.py::test_who_has_enough_left_or_is_told_nothing_does_not_wait",
        ),
    ),
]

RECONCILE = [
    Mutant(
        name="a customer whom the feed has not reported yet counts as missing",
        kind="condition",
        file="integration_service/reconcile/comparison.py",
        text="elif not feed.is_read_after(self._walked_at):",
        instead="elif feed.caught_up_at is None:",
        tests=(f"{_RECONCILE}::test_what_is_on_its_way_is_not_missing",),
    ),
    Mutant(
        name="repair waits for a person at one fewer than may be repaired by itself",
        kind="boundary",
        file="integration_service/reconcile/comparison.py",
        text="if self._absent > by_itself and",
        instead="if self._absent >= by_itself and",
        tests=(f"{_RECONCILE}::test_repair_waits_for_a_person_when_too_many_are_missing_at_once",),
    ),
    Mutant(
        name="Inventory is read before the CRM",
        kind="order",
        file="integration_service/reconcile/comparison.py",
        text="""        await self._walk_customers()
        self._walked_at = self._clock()
        await self._walk_packages()
""",
        instead="""        await self._walk_packages()
        await self._walk_customers()
        self._walked_at = self._clock()
""",
        tests=(f"{_RECONCILE}::test_who_gets_a_package_while_the_customers_are_read_has_it",),
    ),
    Mutant(
        name="who was erased is repaired",
        kind="scope",
        file="integration_service/reconcile/store.py",
        text="    absent = [one for one in absent if one.subject not in erased]\n",
        instead="",
        tests=(f"{_RECONCILE}::test_who_is_erased_after_it_was_judged_is_not_repaired",),
    ),
    Mutant(
        name="what a run has seen stays in the database",
        kind="dropped",
        file="integration_service/reconcile/comparison.py",
        text="        await self._forget(of_others=False)\n        if not error:",
        instead="        if not error:",
        tests=(f"{_RECONCILE}::test_all_is_well",),
    ),
    Mutant(
        name="a run that was given up for dead goes on writing",
        kind="dropped",
        file="integration_service/reconcile/keys.py",
        text="    alive(db, run)\n    if rows:\n",
        instead="    if rows:\n",
        tests=(f"{_RECONCILE}::test_no_write_of_a_run_that_has_ended_changes_anything",),
    ),
]

OPERATIONS = [
    Mutant(
        name="run-once is content though a remote service can't be used",
        kind="condition",
        file="integration_service/operations/actions.py",
        text="return EXIT_UNFINISHED if left or is_open or not is_running else 0",
        instead="return EXIT_UNFINISHED if left or not is_running else 0",
        tests=(f"{_COMMANDS}::test_run_once_exits_with_1_when_something_is_left",),
    ),
    Mutant(
        name="a plain progress writes each step",
        kind="boundary",
        file="integration_service/operations/printing.py",
        text="if number // LINE_EVERY > shown.get(what, 0):",
        instead="if number // LINE_EVERY >= shown.get(what, 0):",
        tests=(f"{_COMMANDS}::test_without_a_terminal_progress_is_a_line_for_so_many",),
    ),
    Mutant(
        name="the last page of dead letters is not counted",
        kind="order",
        file="integration_service/operations/actions.py",
        text="""            count += len(page.rows)
            if page.next_key is None:
                return EXIT_UNFINISHED if count else 0
""",
        instead="""            if page.next_key is None:
                return EXIT_UNFINISHED if count else 0
            count += len(page.rows)
""",
        tests=(f"{_COMMANDS}::test_dead_letters_are_listed_and_retried",),
    ),
    Mutant(
        name="a comparison that failed hides what a repair holds back",
        kind="scope",
        file="integration_service/operations/overview.py",
        text="repair_held_back=_held_back(reconcile.last_finished(db)),",
        instead="repair_held_back=_held_back(last),",
        tests=(
            f"{_COMMANDS}::test_what_repair_holds_back_is_shown_with_the_command_that_makes_it",
        ),
    ),
    Mutant(
        name="run-once does not renew its lease",
        kind="dropped",
        file="integration_service/operations/actions.py",
        text="""        await poller.dispatch.drain(lease)
        await database.write(renew, lease, settings.lease_seconds)
""",
        instead="        await poller.dispatch.drain(lease)\n",
        tests=(f"{_COMMANDS}::test_run_once_keeps_its_lease_for_as_long_as_it_takes",),
    ),
    Mutant(
        name="run-once keeps its lease to the end",
        kind="dropped",
        file="integration_service/operations/actions.py",
        text="        await poller.give_back(lease)\n",
        instead="",
        tests=(f"{_COMMANDS}::test_run_once_reads_all_sends_all_and_exits_with_0",),
    ),
    Mutant(
        name="how far the feed is behind is shown as nothing",
        kind="condition",
        file="integration_service/operations/overview.py",
        text="seconds = 0.0 if lag == 0 else",
        instead="seconds = 0.0 if not lag else",
        tests=(f"{_TESTS}/test_api.py::test_before_the_first_look_the_status_is_empty",),
    ),
]

MUTANTS = DELIVERIES + TARGETS + RECONCILE + OPERATIONS
