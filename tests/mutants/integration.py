"""Planted bugs in the integration: who polls, what the feed tells, what is owed."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/integration_service"
_LEASE = f"{_TESTS}/ledger/test_lease.py"
_INGEST = f"{_TESTS}/feed/test_ingest.py"
_RECOVERY = f"{_TESTS}/feed/test_recovery.py"
_ERASING = f"{_TESTS}/deliveries/test_erasing.py"
_DISPATCH = f"{_TESTS}/deliveries/test_dispatch.py"
_POLICY = f"{_TESTS}/deliveries/test_retry_policy.py"
_CIRCUIT = f"{_TESTS}/targets/test_circuit.py"
_FAILURES = f"{_TESTS}/targets/test_failures.py"
_CONTROL = f"{_TESTS}/operations/test_control.py"

POLLER = [
    Mutant(
        name="a loop that a bug has ended is not begun again",
        kind="condition",
        file="integration_service/poller/poller.py",
        text="""            except Exception:
                logger.exception("A turn failed because of a bug; the next one starts afresh.")
            else:
                return
""",
        instead="""            except Exception:
                logger.exception("A turn failed because of a bug; the next one starts afresh.")
                return
            else:
                return
""",
        tests=(f"{_DISPATCH}::test_a_bug_in_a_turn_is_told_and_the_next_turn_starts_afresh",),
    ),
    Mutant(
        name="the lease is renewed just when it ends",
        kind="boundary",
        file="integration_service/poller/poller.py",
        text="await asyncio.sleep(seconds / 3)",
        instead="await asyncio.sleep(seconds)",
        tests=(f"{_LEASE}::test_a_running_poller_renews_its_lease_again_and_again",),
    ),
    Mutant(
        name="a lease is good from when it was given, not from when it was asked for",
        kind="order",
        file="integration_service/poller/poller.py",
        text="self._good_until = good_until\n            self.lease = lease",
        instead="self._good_until = self._lease_end()\n            self.lease = lease",
        tests=(f"{_LEASE}::test_a_lease_is_good_from_when_it_was_asked_for",),
    ),
    Mutant(
        name="that a lease ran out is taken for a takeover",
        kind="order",
        file="integration_service/poller/poller.py",
        text="""        except* LeaseExpired:
            lost = LeaseExpired()
            self._has_expired = True
        except* LeaseLost:
            lost = LeaseLost()
""",
        instead="""        except* LeaseLost:
            lost = LeaseLost()
        except* LeaseExpired:
            lost = LeaseExpired()
            self._has_expired = True
""",
        tests=(f"{_LEASE}::test_a_poller_that_can_not_renew_stops_before_another_may_begin",),
    ),
    Mutant(
        name="the CRM is called at once after a restart, though it was down",
        kind="scope",
        file="integration_service/poller/poller.py",
        text="for circuit in (self.crm.circuit, *(target.circuit for target in self.targets)):",
        instead="for circuit in [target.circuit for target in self.targets]:",
        tests=(f"{_CIRCUIT}::test_that_the_crm_was_down_is_remembered_over_a_restart",),
    ),
    Mutant(
        name="an order to compare wakes nobody",
        kind="scope",
        file="integration_service/poller/poller.py",
        text="self.ingest.erased, self.reconciler.wanted)",
        instead="self.ingest.erased)",
        tests=(f"{_TESTS}/reconcile/test_reconcile.py::test_the_api_compares_and_tells",),
    ),
    Mutant(
        name="who was taken over keeps the claim by which it would take the lease back at once",
        kind="dropped",
        file="integration_service/poller/poller.py",
        text="                    self._claim.release()\n                    # Until",
        instead="                    # Until",
        tests=(f"{_LEASE}::test_a_running_poller_that_is_taken_over_stands_by",),
    ),
    Mutant(
        name="a lease that was renewed ends when it would have",
        kind="dropped",
        file="integration_service/poller/poller.py",
        text="                    end.reschedule(good_until)\n",
        instead="",
        tests=(f"{_LEASE}::test_a_running_poller_renews_its_lease_again_and_again",),
    ),
    Mutant(
        name="a poller that took over has no claim after the other has ended",
        kind="dropped",
        file="integration_service/poller/poller.py",
        text="                    self._claim.acquire()\n",
        instead="",
        tests=(f"{_LEASE}::test_a_renewal_takes_the_claim_of_a_process_that_has_ended",),
    ),
    Mutant(
        name="a process that is late to renew its lease is ready",
        kind="condition",
        file="integration_service/poller/poller.py",
        text='return "its lease has run out" if is_late or self._has_expired else None',
        instead='return "its lease has run out" if self._has_expired else None',
        tests=(f"{_LEASE}::test_a_poller_that_is_late_to_renew_is_not_ready",),
    ),
    Mutant(
        name="a pause is not written beside the time for which was tried",
        kind="dropped",
        file="integration_service/poller/control.py",
        text="            await self._database.write(targets.save, lease, self._circuit)\n",
        instead="",
        tests=(f"{_CONTROL}::test_no_delivery_grows_older_while_it_is_paused",),
    ),
    Mutant(
        name="news between two looks is missed",
        kind="order",
        file="integration_service/poller/control.py",
        text="""            next_commit = self._database.committed.next()  # taken before looking
            await self.look(lease)
""",
        instead="""            await self.look(lease)
            next_commit = self._database.committed.next()
""",
        tests=(f"{_CONTROL}::test_a_pause_that_comes_during_a_look_is_seen_by_the_next",),
    ),
]

LEDGER = [
    Mutant(
        name="who was taken over may go on writing",
        kind="condition",
        file="integration_service/ledger/lease.py",
        text="    if _epoch(db) != lease.epoch:",
        instead="    if _epoch(db) < lease.epoch:",
        tests=(f"{_LEASE}::test_no_write_of_a_poller_that_was_taken_over_changes_anything",),
    ),
    Mutant(
        name="a takeover has the epoch of the lease before",
        kind="boundary",
        file="integration_service/ledger/lease.py",
        text="    lease = Lease(holder, epoch + 1)",
        instead="    lease = Lease(holder, max(epoch, 1))",
        tests=(f"{_LEASE}::test_a_lease_that_ran_out_is_taken_over",),
    ),
    Mutant(
        name="a claim that was refused is held at the next try",
        kind="order",
        file="integration_service/ledger/lease.py",
        text="""        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True
""",
        instead="""        self._file = file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        return True
""",
        tests=(f"{_LEASE}::test_a_claim_is_held_by_one_until_it_gives_it_back",),
    ),
    Mutant(
        name="a second pause is since now",
        kind="scope",
        file="integration_service/ledger/control.py",
        text="update(poller).where(poller.c.paused_at.is_(None)).values(paused_at=now)",
        instead="update(poller).values(paused_at=now)",
        tests=(f"{_CONTROL}::test_while_it_is_paused_nothing_is_sent_and_the_feed_is_read",),
    ),
    Mutant(
        name="whoever polled last counts as polling",
        kind="condition",
        file="integration_service/ledger/control.py",
        text="    return until is not None and until > now_of(db)",
        instead="    return until is not None",
        tests=(f"{_CONTROL}::test_where_nobody_polls_nobody_can_be_told_to",),
    ),
    Mutant(
        name="the fence holds nobody back",
        kind="dropped",
        file="integration_service/ledger/lease.py",
        text="(select(poller.c.lease_epoch).with_for_update())",
        instead="(select(poller.c.lease_epoch))",
        tests=(f"{_LEASE}::test_a_takeover_waits_for_a_write_that_has_passed_the_fence",),
        engine="both",
    ),
]

FEED = [
    Mutant(
        name="a page that has more behind it counts as the end of the feed",
        kind="condition",
        file="integration_service/feed/ingest.py",
        text='"caught_up": None if page.has_more else now,',
        instead='"caught_up": now,',
        tests=(
            f"{_TESTS}/test_api.py::test_the_status_counts_what_is_owed_and_how_far_the_feed_is_read",
        ),
    ),
    Mutant(
        name="the newest customer from before the start is owed a package",
        kind="boundary",
        file="integration_service/feed/models.py",
        text="and created_at <= feed.newest_at_start",
        instead="and created_at < feed.newest_at_start",
        tests=(
            f"{_RECOVERY}::test_in_another_crm_its_own_dates_tell_who_is_from_before_a_start_with_now",
        ),
    ),
    Mutant(
        name="an erasure counts for the pages behind its own only",
        kind="order",
        file="integration_service/feed/store.py",
        text="""    erasures.note(db, erased, now)
    new = owe(db, arrivals, now)
    if""",
        instead="""    new = owe(db, arrivals, now)
    erasures.note(db, erased, now)
    if""",
        tests=(f"{_ERASING}::test_of_an_erasure_on_the_same_page_nothing_is_sent",),
    ),
    Mutant(
        name="a page that was read from elsewhere moves the cursor",
        kind="scope",
        file="integration_service/feed/store.py",
        text="""        poller.c.cursor.is_not_distinct_from(bindparam("old")),
        poller.c.lease_epoch""",
        instead="        poller.c.lease_epoch",
        tests=(f"{_LEASE}::test_a_page_that_was_read_from_elsewhere_is_void",),
    ),
    Mutant(
        name="a walk that begins anew begins where the last one was",
        kind="dropped",
        file="integration_service/feed/store.py",
        text="            recovery_page=None,\n",
        instead="",
        tests=(f"{_RECOVERY}::test_a_crm_that_fails_in_the_middle_is_asked_again",),
    ),
    Mutant(
        name="whom the walk finds is not sent to before the next look",
        kind="dropped",
        file="integration_service/feed/ingest.py",
        text="""        if walked.arrivals:
            self.arrived.set()
""",
        instead="",
        tests=(f"{_RECOVERY}::test_whom_the_walk_finds_is_sent_to_at_once",),
    ),
]

ROUTES = [
    Mutant(
        name="for a welcome that is 0 no package is made",
        kind="condition",
        file="integration_service/routes/definitions.py",
        text="return type(value) is type(wanted) and value == wanted  # for Python 0 == False",
        instead="return bool(value == wanted)",
        tests=(f"{_TESTS}/routes/test_definitions.py",),
    ),
    Mutant(
        name="the feed is not asked for what undoes a delivery",
        kind="dropped",
        file="integration_service/routes/definitions.py",
        text="return (*self.on, *self.undo_on)",
        instead="return self.on",
        tests=(f"{_TESTS}/routes/test_definitions.py",),
    ),
]

DELIVERIES = [
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
        name="a success is told before it is written down",
        kind="order",
        file="integration_service/deliveries/dispatch.py",
        text="""        await self._database.write(claims.settle, lease, settlements)
        journal.settled([(one.subject, its) for one, its in zip(batch, settlements, strict=True)])
""",
        instead="""        outcomes = zip([one.subject for one in batch], settlements, strict=True)
        journal.settled(list(outcomes))
        await self._database.write(claims.settle, lease, settlements)
""",
        tests=(f"{_DISPATCH}::test_what_could_not_be_written_down_is_sent_again",),
    ),
    Mutant(
        name="an arrival during a look at what is due waits for the next nap to end",
        kind="order",
        file="integration_service/deliveries/dispatch.py",
        text="""                self._changed.clear()
                nap = await self.start_batches(lease)
                await""",
        instead="""                nap = await self.start_batches(lease)
                self._changed.clear()
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
        text="which.condition(), deliveries.c.id > after)",
        instead="which.condition(), deliveries.c.id > after + 1)",
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
]

MUTANTS = POLLER + LEDGER + FEED + ROUTES + DELIVERIES
