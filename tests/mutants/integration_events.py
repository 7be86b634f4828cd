"""Planted bugs in routes to webhooks: what they are owed, in which order, by which file."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/integration_service"
_SUBSCRIPTIONS = f"{_TESTS}/feed/test_subscriptions.py"
_REPORTING = f"{_TESTS}/deliveries/test_reporting.py"
_REPLAY = f"{_TESTS}/deliveries/test_replay.py"
_READDRESSING = f"{_TESTS}/deliveries/test_readdressing.py"
_ROUTES = f"{_TESTS}/operations/test_webhook_routes.py"
_RECONCILE = f"{_TESTS}/reconcile/test_webhooks.py"
_WEBHOOK = f"{_TESTS}/targets/test_webhook.py"

FEED = [
    Mutant(
        name="a new route begins where another new one does",
        kind="scope",
        file="integration_service/feed/subscriptions.py",
        text="groups.setdefault((state.cursor, state.position, start), [])",
        instead="groups.setdefault((state.cursor, state.position), [])",
        tests=(f"{_SUBSCRIPTIONS}::test_new_routes_begin_each_where_its_file_says",),
    ),
    Mutant(
        name="a route that began at the beginning passes over a gap by itself",
        kind="condition",
        file="integration_service/feed/subscriptions.py",
        text='may_skip = place.cursor is None and place.start_from in {"beginning", OLDEST}',
        instead='may_skip = place.start_from in {"beginning", OLDEST}',
        tests=(f"{_SUBSCRIPTIONS}::test_a_gap_stops_one_route_until_somebody_accepts_it",),
    ),
    Mutant(
        name="the last event of a page can't be read",
        kind="boundary",
        file="integration_service/feed/subscriptions.py",
        text="not 0 < sequence <= through:",
        instead="not 0 < sequence < through:",
        tests=(f"{_SUBSCRIPTIONS}::test_each_route_is_owed_the_events_of_its_own_types",),
    ),
    Mutant(
        name="a route that is behind waits for news at the place of another",
        kind="dropped",
        file="integration_service/feed/subscriptions.py",
        text="        if len(groups) > 1:\n            wait = 0.0\n        elif",
        instead="        if",
        tests=(f"{_SUBSCRIPTIONS}::test_while_routes_stand_apart_none_waits_for_news",),
    ),
    Mutant(
        name="the reader does not hear of erasures, and keeps what was answered about them",
        kind="dropped",
        file="integration_service/feed/subscriptions.py",
        text="            types.add(ERASED)",
        instead="            pass",
        tests=(
            f"{_REPORTING}::test_what_was_answered_about_a_customer_is_forgotten_when_that_is_erased",
        ),
    ),
    Mutant(
        name="a page that was read from elsewhere moves a webhook's route",
        kind="condition",
        file="integration_service/feed/places.py",
        text='        routes.c.cursor.is_not_distinct_from(bindparam("old")),\n',
        instead="",
        tests=(f"{_SUBSCRIPTIONS}::test_a_page_that_was_read_from_elsewhere_is_void",),
    ),
    Mutant(
        name="what is compared begins one event late",
        kind="boundary",
        file="integration_service/feed/places.py",
        text='"first": page.from_position - 1,',
        instead='"first": page.from_position,',
        tests=(f"{_RECONCILE}::test_events_from_before_the_start_are_not_missing",),
    ),
    Mutant(
        name="only the last page of a route is compared",
        kind="scope",
        file="integration_service/feed/places.py",
        text='func.coalesce(routes.c.first_position, bindparam("first"))',
        instead='func.coalesce(bindparam("first"), routes.c.first_position)',
        tests=(f"{_RECONCILE}::test_what_is_compared_begins_with_the_first_page",),
    ),
    Mutant(
        name="an event without a type is passed over",
        kind="condition",
        file="integration_service/feed/past.py",
        text="if isinstance(kind, str) and kind not in route.event_types:",
        instead="if kind not in route.event_types:",
        tests=(f"{_SUBSCRIPTIONS}::test_what_cannot_be_read_is_kept_as_dead",),
    ),
    Mutant(
        name="the last page of the past is not read",
        kind="order",
        file="integration_service/feed/past.py",
        text="""        yield page
        cursor = page.next_cursor
        if not page.has_more:
            return
""",
        instead="""        if not page.has_more:
            return
        yield page
        cursor = page.next_cursor
""",
        tests=(f"{_RECONCILE}::test_what_is_missing_is_named_and_repair_sends_it_once",),
    ),
]

DELIVERIES = [
    Mutant(
        name="more is under way at once than there are places",
        kind="boundary",
        file="integration_service/deliveries/reporting.py",
        text="len(self._under_way) < self._places and self._may_start()",
        instead="len(self._under_way) <= self._places and self._may_start()",
        tests=(f"{_REPORTING}::test_as_many_are_under_way_as_there_are_places",),
    ),
    Mutant(
        name="what could not be written down is forgotten",
        kind="order",
        file="integration_service/deliveries/reporting.py",
        text="""        held, moved = await self._database.write(work)
        del self._settled[: len(settled)], self._returned[: len(returned)]
""",
        instead="""        del self._settled[: len(settled)], self._returned[: len(returned)]
        held, moved = await self._database.write(work)
""",
        tests=(f"{_REPORTING}::test_what_could_not_be_written_down_is_written_down_later",),
    ),
    Mutant(
        name="what can't be read because the CRM is away stays claimed",
        kind="dropped",
        file="integration_service/deliveries/reporting.py",
        text="CRM_PAUSE_SECONDS\n            self._returned.append(delivery.id)\n",
        instead="CRM_PAUSE_SECONDS\n",
        tests=(f"{_REPORTING}::test_while_the_crm_cannot_be_asked_nothing_is_counted",),
    ),
    Mutant(
        name="of a route that is paused one more is sent",
        kind="condition",
        file="integration_service/deliveries/reporting.py",
        text="kept = 0 if self._circuit.is_paused else 1",
        instead="kept = 1",
        tests=(f"{_REPORTING}::test_what_was_claimed_when_a_pause_came_is_given_back",),
    ),
    Mutant(
        name="the first event of a range is not sent again",
        kind="boundary",
        file="integration_service/deliveries/replay.py",
        text="deliveries.c.sequence >= wanted.from_position",
        instead="deliveries.c.sequence > wanted.from_position",
        tests=(f"{_ROUTES}::test_a_range_is_sent_again",),
    ),
    Mutant(
        name="a replay sends a package to who was erased",
        kind="dropped",
        file="integration_service/deliveries/replay.py",
        text="        ~erasures.IS_ERASED,\n",
        instead="",
        tests=(f"{_REPLAY}::test_nobody_who_was_erased_gets_a_package_by_a_replay",),
    ),
    Mutant(
        name="what was dismissed is not sent again",
        kind="scope",
        file="integration_service/deliveries/replay.py",
        text="""deliveries.c.skip_reason.is_(None) | (deliveries.c.skip_reason == "dismissed")""",
        instead="deliveries.c.skip_reason.is_(None)",
        tests=(f"{_REPLAY}::test_what_is_finished_in_any_way_but_one_is_sent_again",),
    ),
    Mutant(
        name="a replay wakes nobody",
        kind="dropped",
        file="integration_service/deliveries/replay.py",
        text="    wake(db)\n    return found\n",
        instead="    return found\n",
        tests=(f"{_REPLAY}::test_a_replay_wakes_the_poller_and_is_on_record",),
    ),
    Mutant(
        name="each event waits for itself",
        kind="boundary",
        file="integration_service/deliveries/held.py",
        text="_earlier.c.sequence < deliveries.c.sequence",
        instead="_earlier.c.sequence <= deliveries.c.sequence",
        tests=(f"{_REPORTING}::test_in_order_the_events_of_a_subject_follow_one_another",),
    ),
    Mutant(
        name="what one route owes holds the events of another",
        kind="scope",
        file="integration_service/deliveries/held.py",
        text="    _earlier.c.route == deliveries.c.route,\n",
        instead="",
        tests=(f"{_REPORTING}::test_in_order_one_route_does_not_wait_for_another",),
    ),
    Mutant(
        name="of a paused route the circuit is said to hold it back",
        kind="order",
        file="integration_service/deliveries/held.py",
        text="""    (_IS_PAUSED, "paused"),
    (_IS_BROKEN, "circuit"),
""",
        instead="""    (_IS_BROKEN, "circuit"),
    (_IS_PAUSED, "paused"),
""",
        tests=(f"{_REPORTING}::test_a_pause_is_named_before_a_circuit_that_is_open",),
    ),
    Mutant(
        name="an older address that is read again replaces a newer one",
        kind="condition",
        file="integration_service/deliveries/destinations.py",
        text='"WHERE excluded.as_of >= destinations.as_of"',
        instead='"WHERE excluded.as_of <> destinations.as_of"',
        tests=(f"{_READDRESSING}::test_an_older_address_that_is_read_again_replaces_no_newer_one",),
    ),
    Mutant(
        name="an address that became newer while the older was told is forgotten",
        kind="scope",
        file="integration_service/deliveries/destinations.py",
        text='destinations.c.as_of == bindparam("told_as_of")',
        instead='bindparam("told_as_of").is_not(None)',
        tests=(f"{_READDRESSING}::test_one_that_is_newer_when_the_older_was_told_is_told_too",),
    ),
]

ADOPTION = [
    Mutant(
        name="what a person has accepted is refused",
        kind="scope",
        file="integration_service/poller/adoption.py",
        text="hash_of(wanted) in (stored, accepted)",
        instead="hash_of(wanted) == stored",
        tests=(f"{_ROUTES}::test_a_name_that_is_gone_while_another_is_new_must_be_accepted",),
    ),
    Mutant(
        name="what was removed long ago counts as gone again",
        kind="dropped",
        file="integration_service/poller/adoption.py",
        text="if states[name].removed_at is None and _has_any(db, name)]\n    stored",
        instead="if _has_any(db, name)]\n    stored",
        tests=(f"{_ROUTES}::test_what_was_removed_before_is_not_asked_about_again",),
    ),
    Mutant(
        name="dead deliveries of a route that is removed are skipped",
        kind="boundary",
        file="integration_service/poller/adoption.py",
        text='_UNFINISHED = ("pending", "retrying")',
        instead='_UNFINISHED = ("pending", "retrying", "dead")',
        tests=(f"{_REPORTING}::test_what_a_removed_route_owed_is_skipped_and_stays_readable",),
    ),
    Mutant(
        name="a route that comes back is still removed",
        kind="condition",
        file="integration_service/poller/adoption.py",
        text=".values(**row, removed_at=None)",
        instead=".values(**row)",
        tests=(f"{_ROUTES}::test_a_removed_route_that_comes_back_goes_on_where_it_stood",),
    ),
]

WEBHOOKS = [
    Mutant(
        name="a redirect is a success",
        kind="condition",
        file="integration_service/targets/webhook.py",
        text="        if httpx.codes.is_success(answer.status):\n",
        instead="        if not httpx.codes.is_error(answer.status):\n",
        tests=(f"{_WEBHOOK}::test_a_redirect_is_not_followed",),
    ),
    Mutant(
        name="what the first address may have got is sent to the next",
        kind="scope",
        file="integration_service/targets/posting.py",
        text="except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as failed:",
        instead="except aiohttp.ClientConnectionError as failed:",
        tests=(f"{_WEBHOOK}::test_of_several_addresses_only_one_is_sent_to",),
    ),
    Mutant(
        name="a probe is repeated at once",
        kind="dropped",
        file="integration_service/targets/webhook.py",
        text="partial(self._try, message), once=once)",
        instead="partial(self._try, message), once=False)",
        tests=(f"{_WEBHOOK}::test_a_probe_is_tried_once",),
    ),
    Mutant(
        name="the time is signed before the id",
        kind="order",
        file="integration_service/targets/signatures.py",
        text='f"{webhook_id}.{timestamp}."',
        instead='f"{timestamp}.{webhook_id}."',
        tests=(f"{_WEBHOOK}::test_the_receiver_can_verify_it",),
    ),
    Mutant(
        name="several signatures are no list as of the standard",
        kind="condition",
        file="integration_service/targets/signatures.py",
        text='return " ".join(',
        instead='return ",".join(',
        tests=(f"{_WEBHOOK}::test_while_secrets_are_rotated_either_verifies_it",),
    ),
    Mutant(
        name="a secret of 65 bytes is taken",
        kind="boundary",
        file="integration_service/targets/signatures.py",
        text="LONGEST_KEY = 64",
        instead="LONGEST_KEY = 65",
        tests=(f"{_WEBHOOK}::test_a_secret_that_is_none_is_refused_in_words_that_do_not_show_it",),
    ),
]

MUTANTS = FEED + DELIVERIES + ADOPTION + WEBHOOKS
