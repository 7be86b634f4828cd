"""Planted bugs in the integration: who polls, and what the feed tells."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/integration_service"
_LEASE = f"{_TESTS}/ledger/test_lease.py"
_INGEST = f"{_TESTS}/feed/test_ingest.py"
_RECOVERY = f"{_TESTS}/feed/test_recovery.py"
_ERASING = f"{_TESTS}/deliveries/test_erasing.py"
_AHEAD = f"{_TESTS}/feed/test_sent_ahead.py"
_DISPATCH = f"{_TESTS}/deliveries/test_dispatch.py"
_CIRCUIT = f"{_TESTS}/targets/test_circuit.py"
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
        text="        for circuit in known:\n            circuit.restore",
        instead="        for circuit in known[1:]:\n            circuit.restore",
        tests=(f"{_CIRCUIT}::test_that_the_crm_was_down_is_remembered_over_a_restart",),
    ),
    Mutant(
        name="an order to compare wakes nobody",
        kind="scope",
        file="integration_service/poller/poller.py",
        text="self.ingest.erased, noted, self.reconciler.wanted)",
        instead="self.ingest.erased, noted)",
        tests=(f"{_CONTROL}::test_whoever_is_told_to_look_wakes_every_loop",),
    ),
    Mutant(
        name="who was taken over keeps the file lock by which it would take the lease back at once",
        kind="dropped",
        file="integration_service/poller/poller.py",
        text="                    self._file_lock.release()\n                    # Until",
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
        name="a poller that took over has no file lock after the other has ended",
        kind="dropped",
        file="integration_service/poller/poller.py",
        text="                    self._file_lock.acquire()\n",
        instead="",
        tests=(f"{_LEASE}::test_a_renewal_takes_the_file_lock_of_a_process_that_has_ended",),
    ),
    Mutant(
        name="a process that is late to renew its lease is ready",
        kind="condition",
        file="integration_service/poller/poller.py",
        text="if is_late or self._has_expired:",
        instead="if self._has_expired:",
        tests=(f"{_LEASE}::test_a_poller_that_is_late_to_renew_is_not_ready",),
    ),
    Mutant(
        name="after a look at once nobody waits for news before the next poll is due",
        kind="scope",
        file="integration_service/poller/reading.py",
        text="                    seconds = min(seconds, EARLY_ANSWER_PAUSE_SECONDS)\n",
        instead="                    pass\n",
        tests=(f"{_CONTROL}::test_whichever_replica_is_told_the_one_that_polls_looks_at_once",),
    ),
    Mutant(
        name="a wake-up cuts a poll that is already writing",
        kind="condition",
        file="integration_service/poller/reading.py",
        text="if not poll.done() and self._reader.is_waiting and not skip_long_poll:",
        instead="if not poll.done() and not skip_long_poll:",
        tests=(f"{_CONTROL}::test_a_wake_up_does_not_cut_a_poll_that_is_already_writing",),
    ),
    Mutant(
        name="a loop that fails begins again at once",
        kind="dropped",
        file="integration_service/poller/poller.py",
        text="""
            await self._stopping.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def _keep_""",
        instead="""

    async def _keep_""",
        tests=(f"{_LEASE}::test_a_loop_that_fails_pauses_before_it_begins_again",),
    ),
    Mutant(
        name="a process whose lease ran out once is never ready again",
        kind="dropped",
        file="integration_service/poller/poller.py",
        text="        self._has_expired = False\n        if lease is not None:",
        instead="        if lease is not None:",
        tests=(f"{_LEASE}::test_a_poller_that_can_not_renew_stops_before_another_may_begin",),
    ),
    Mutant(
        name="a pause is not written beside the time for which was tried",
        kind="dropped",
        file="integration_service/poller/control.py",
        text="            await self._database.write(targets.save, lease, circuit)\n",
        instead="",
        tests=(f"{_CONTROL}::test_no_delivery_grows_older_while_it_is_paused",),
    ),
    Mutant(
        name="news between two looks is missed",
        kind="order",
        file="integration_service/poller/control.py",
        text="""            next_commit = self._database.committed.next()  # taken before the check
            await self.check(lease)
""",
        instead="""            await self.check(lease)
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
        name="a file lock that was refused is held at the next try",
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
        tests=(f"{_LEASE}::test_a_file_lock_is_held_by_one_until_it_gives_it_back",),
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
        tests=(f"{_LEASE}::test_a_change_waits_for_a_write_that_has_passed_the_fence",),
        engine="both",
    ),
]

FEED = [
    Mutant(
        name="whom a lost commit may have noted as being sent is not given back",
        kind="dropped",
        file="integration_service/feed/ingest.py",
        text="            self._unsent = ahead.uids\n            ahead.drop()\n",
        instead="            ahead.drop()\n",
        tests=(f"{_AHEAD}::test_a_note_whose_outcome_nobody_knows_loses_nobody",),
    ),
    Mutant(
        name="who is sent by a loop that has ended stays claimed",
        kind="condition",
        file="integration_service/feed/ingest.py",
        text="if not ahead.tell(noted) and not noted.is_settled:",
        instead="if not ahead.tell(noted) and noted.is_settled:",
        tests=(f"{_AHEAD}::test_who_is_sent_by_a_loop_that_ended_meanwhile_is_given_back",),
    ),
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
    destinations.note(db, changed)
    new = owe(db, arrivals, now)
""",
        instead="""    destinations.note(db, changed)
    new = owe(db, arrivals, now)
    erasures.note(db, erased, now)
""",
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
            self.work_ready.set()
""",
        instead="",
        tests=(f"{_RECOVERY}::test_what_the_walk_finds_wakes_those_who_act_on_it",),
    ),
    Mutant(
        name="an erasure wakes nobody",
        kind="dropped",
        file="integration_service/feed/ingest.py",
        text="        if erased:\n            self.erased.set()\n",
        instead="",
        tests=(f"{_INGEST}::test_what_a_look_finds_wakes_those_who_act_on_it",),
    ),
    Mutant(
        name="a CRM that says when to come back is asked before",
        kind="scope",
        file="integration_service/feed/outages.py",
        text="max(interval, failure.retry_after)",
        instead="interval",
        tests=(f"{_INGEST}::test_a_crm_that_says_when_to_come_back_is_left_alone_for_so_long",),
    ),
    Mutant(
        name="an erasure that the walk finds wakes nobody",
        kind="dropped",
        file="integration_service/feed/ingest.py",
        text="        if walked.erased:\n            self.erased.set()\n",
        instead="",
        tests=(f"{_RECOVERY}::test_what_the_walk_finds_wakes_those_who_act_on_it",),
    ),
    Mutant(
        name="what is wrong with the feed is told once for ever",
        kind="dropped",
        file="integration_service/feed/ingest.py",
        text="        self._logged_state = None\n        await self._note_success(lease)\n",
        instead="        await self._note_success(lease)\n",
        tests=(f"{_INGEST}::test_what_is_wrong_with_a_feed_that_was_well_meanwhile_is_told_again",),
    ),
]

MUTANTS = POLLER + LEDGER + FEED
