"""Planted bugs in the console, and in what the CRM keeps for it."""

from tests.mutants.mutant import Mutant

_SIGN_IN = "tests/console/test_sign_in.py"
_SECURITY = "tests/console/test_security.py"
_CUSTOMERS = "tests/console/test_customers.py"
_TICKETS = "tests/console/test_tickets.py"
_OVERVIEW = "tests/console/test_overview.py"
_DELIVERIES = "tests/console/test_deliveries.py"

MUTANTS = [
    Mutant(
        name="a page of another port of this host may send forms",
        kind="condition",
        file="console/security.py",
        text='return site == "same-origin"',
        instead='return site in {"same-origin", "same-site"}',
        tests=(f"{_SECURITY}::test_only_a_page_of_the_console_changes_something",),
    ),
    Mutant(
        name="one more attempt to sign in is allowed",
        kind="boundary",
        file="console/security.py",
        text="Buckets(ATTEMPTS, ATTEMPTS.number)",
        instead="Buckets(ATTEMPTS, ATTEMPTS.number + 1)",
        tests=(f"{_SIGN_IN}::test_failed_attempts_are_limited_by_address",),
    ),
    Mutant(
        name="the handler runs before it is known who asks",
        kind="order",
        file="console/routing.py",
        text="        if needs is not None and not who.may(needs):\n",
        instead="        if False:\n",
        tests=(f"{_SECURITY}::test_what_a_token_may_not_do_is_not_shown_and_not_done",),
    ),
    Mutant(
        name="a session is good for as long as it likes",
        kind="scope",
        file="console/sessions.py",
        text="        end = min(end, who.expires_at)",
        instead="        end = max(end, who.expires_at)",
        tests=(f"{_SIGN_IN}::test_a_session_is_no_longer_than_its_token_nor_than_twelve_hours",),
    ),
    Mutant(
        name="what was typed is gone where a service does not answer",
        kind="dropped",
        file="console/routing.py",
        text="            return _failed(partial(visit.render, **await _kept(request)), error)",
        instead="            return _failed(visit.render, error)",
        tests=(f"{_DELIVERIES}::test_a_reason_is_kept_where_the_integration_does_not_answer",),
    ),
    Mutant(
        name="the places of a service that is down are gone from the menu",
        kind="scope",
        file="console/identity.py",
        text="        return replace(found, scopes=_scopes_of_role(home, found.role))",
        instead="        return found",
        tests=(f"{_OVERVIEW}::test_while_the_home_of_a_token_is_down_what_works_goes_on",),
    ),
    Mutant(
        name="a session whose token is refused stays in the store",
        kind="dropped",
        file="console/routing.py",
        text="        await site.sessions.remove(session.key)\n",
        instead="",
        tests=(f"{_SIGN_IN}::test_a_session_ends_within_five_seconds_of_its_tokens_revocation",),
    ),
    Mutant(
        name="a reply is sent whoever was faster",
        kind="condition",
        file="console/pages/tickets.py",
        text='    if form["etag"] and (await visit.crm.get(_address(visit))).etag != form["etag"]:',
        instead="    if False:",
        tests=(f"{_TICKETS}::test_a_reply_is_kept_when_somebody_else_was_faster",),
    ),
    Mutant(
        name="a name that two customers have leads to the first",
        kind="boundary",
        file="console/pages/search.py",
        text="q=text, limit=2)",
        instead="q=text, limit=1)",
        tests=(f"{_CUSTOMERS}::test_one_search_leads_to_what_it_names",),
    ),
    Mutant(
        name="what is delivered comes before what is dead",
        kind="order",
        file="console/pages/deliveries.py",
        text='STATES = ("dead", "retrying", "pending", "delivered"',
        instead='STATES = ("delivered", "dead", "retrying", "pending"',
        tests=(f"{_DELIVERIES}::test_what_somebody_should_look_at_comes_first_in_groups",),
    ),
    Mutant(
        name="a look at a retry sends it",
        kind="scope",
        file="console/pages/deliveries.py",
        text='dry = {**order, "dry_run": True}',
        instead='dry = {**order, "dry_run": False}',
        tests=(f"{_DELIVERIES}::test_a_retry_of_many_is_shown_before_it_is_done",),
    ),
    Mutant(
        name="a customer is changed whoever was faster",
        kind="dropped",
        file="console/pages/customers.py",
        text='_typed(form), If_Match=form["etag"])',
        instead="_typed(form))",
        tests=(f"{_CUSTOMERS}::test_two_who_change_one_customer_learn_of_each_other",),
    ),
    Mutant(
        name="a link is good for another role than its own",
        kind="condition",
        file="crm_api/sessions/service.py",
        text='{"name": link.name, "role": link.role,',
        instead='{"name": link.name, "role": "admin",',
        tests=(f"{_SIGN_IN}::test_a_link_signs_in_once_and_a_preview_does_not_spend_it",),
    ),
    Mutant(
        name="a link is good for longer than ten minutes",
        kind="boundary",
        file="crm_api/sessions/service.py",
        text="LINK_LIFETIME = timedelta(minutes=10)",
        instead="LINK_LIFETIME = timedelta(minutes=11)",
        tests=(f"{_SIGN_IN}::test_a_link_is_good_for_ten_minutes",),
    ),
    Mutant(
        name="a preview spends the link",
        kind="order",
        file="crm_api/sessions/service.py",
        text="    link = store.find_link(db, _digest(secret), clock.now())",
        instead="    link = store.take_link(db, _digest(secret), clock.now())",
        tests=(f"{_SIGN_IN}::test_a_link_signs_in_once_and_a_preview_does_not_spend_it",),
    ),
    Mutant(
        name="signing out everywhere ends everybody's sessions",
        kind="scope",
        file="crm_api/sessions/store.py",
        text="delete(sessions).where(sessions.c.owner == owner)",
        instead="delete(sessions)",
        tests=(f"{_SIGN_IN}::test_signing_out_everywhere_ends_all_of_a_name",),
    ),
    Mutant(
        name="the end of a session is not in the audit",
        kind="dropped",
        file="crm_api/sessions/service.py",
        text="    _record_ends(db, store.remove(db, key))",
        instead="    store.remove(db, key)",
        tests=(f"{_SIGN_IN}::test_sessions_are_in_the_audit",),
    ),
]
