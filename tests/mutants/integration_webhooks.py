"""Planted bugs in webhooks: where they go, how they are signed, and what comes of each."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/integration_service/targets"
_ADDRESSES = f"{_TESTS}/test_addresses.py"
_EXCERPTS = f"{_TESTS}/test_excerpts.py"
_REPORTING = "tests/integration_service/deliveries/test_reporting.py"
_WEBHOOK = f"{_TESTS}/test_webhook.py"
_RESTORED = "tests/integration_service/feed/test_restored_crm.py"

MUTANTS = [
    Mutant(
        name="one public address among private ones is enough",
        kind="condition",
        file="integration_service/targets/addresses.py",
        text="    for one in found:\n",
        instead="    for one in found[:1]:\n",
        tests=(f"{_ADDRESSES}::test_one_private_address_among_public_ones_refuses_all",),
    ),
    Mutant(
        name="an address that carries a private one is called",
        kind="scope",
        file="integration_service/targets/addresses.py",
        text="address.ipv4_mapped or address.sixtofour",
        instead="address.ipv4_mapped",
        tests=(f"{_ADDRESSES}::test_a_private_address_is_called_only_where_that_is_allowed",),
    ),
    Mutant(
        name="half of the shared addresses of providers are public",
        kind="boundary",
        file="integration_service/targets/addresses.py",
        text='"100.64.0.0/10"',
        instead='"100.64.0.0/11"',
        tests=(f"{_ADDRESSES}::test_a_private_address_is_called_only_where_that_is_allowed",),
    ),
    Mutant(
        name="a metadata service is called where private addresses are allowed",
        kind="order",
        file="integration_service/targets/addresses.py",
        text="""    if kind := _kind_in(_NEVER_NETWORKS, address):
        return kind
    if kind := _kind_in(_PRIVATE_NETWORKS, address):
        return None if allow_private else f"{kind} (WEBHOOK_ALLOW_PRIVATE=true allows it)"
""",
        instead="""    if kind := _kind_in(_PRIVATE_NETWORKS, address):
        return None if allow_private else f"{kind} (WEBHOOK_ALLOW_PRIVATE=true allows it)"
    if kind := _kind_in(_NEVER_NETWORKS, address):
        return kind
""",
        tests=(f"{_ADDRESSES}::test_some_addresses_are_never_called",),
    ),
    Mutant(
        name="the name is looked up again to connect",
        kind="dropped",
        file="integration_service/targets/posting.py",
        text="url.copy_with(host=address)",
        instead="url.copy_with()",
        tests=(f"{_WEBHOOK}::test_the_connection_goes_to_the_address_that_was_checked",),
    ),
    Mutant(
        name="the certificate is compared with the address, not with the name",
        kind="dropped",
        file="integration_service/targets/posting.py",
        text="            server_hostname=self._name,\n",
        instead="",
        tests=(f"{_WEBHOOK}::test_behind_tls_the_name_is_asked_for_and_verified",),
    ),
    Mutant(
        name="a retry has the signature of the first try",
        kind="order",
        file="integration_service/targets/webhook.py",
        text="        timestamp = int(time.time())\n",
        instead="        timestamp = int(self.__dict__.setdefault('_at', time.time()))\n",
        tests=(f"{_WEBHOOK}::test_each_try_has_the_same_id_and_a_time_and_signature_of_its_own",),
    ),
    Mutant(
        name="only the newest secret signs",
        kind="scope",
        file="integration_service/targets/signatures.py",
        text="for key in keys)",
        instead="for key in keys[:1])",
        tests=(f"{_WEBHOOK}::test_while_secrets_are_rotated_either_verifies_it",),
    ),
    Mutant(
        name="a secret of 23 bytes is taken",
        kind="boundary",
        file="integration_service/targets/signatures.py",
        text="SHORTEST_KEY = 24",
        instead="SHORTEST_KEY = 23",
        tests=(f"{_WEBHOOK}::test_a_secret_that_is_none_is_refused_in_words_that_do_not_show_it",),
    ),
    Mutant(
        name="two routes to one receiver send an event under one id",
        kind="scope",
        file="integration_service/targets/webhook.py",
        text='f"{route}/{event_id}"',
        instead="event_id",
        tests=(f"{_WEBHOOK}::test_an_id_is_the_same_at_every_try_and_another_for_each_route",),
    ),
    Mutant(
        name="the deadline is for the lookup alone",
        kind="scope",
        file="integration_service/targets/webhook.py",
        text="                return await self._traced(addresses, message)\n",
        instead="            return await self._traced(addresses, message)\n",
        tests=(f"{_WEBHOOK}::test_what_comes_to_no_end_is_cut_at_the_deadline",),
    ),
    Mutant(
        name="an endless answer is read without end",
        kind="dropped",
        file="integration_service/targets/posting.py",
        text="                if len(content) >= LARGEST_ANSWER:\n                    break\n",
        instead="",
        tests=(f"{_WEBHOOK}::test_of_an_endless_answer_only_the_beginning_is_read",),
    ),
    Mutant(
        name="what was sent under a lost lease is written down under the next one",
        kind="scope",
        file="integration_service/deliveries/reporting.py",
        text="if lease != self._lease:",
        instead="if self._lease is None:",
        tests=(
            f"{_REPORTING}::test_what_was_sent_under_a_lost_lease_is_written_down_under_no_later_one",
        ),
    ),
    Mutant(
        name="in order, what is due hides what a clock has put off",
        kind="condition",
        file="integration_service/deliveries/reporting.py",
        text="if not number and await self._database.read(claims.has_future_dated, now):",
        instead="if due_at > now and await self._database.read(claims.has_future_dated, now):",
        tests=(f"{_REPORTING}::test_in_order_nothing_waits_for_a_clock_that_was_set_back",),
    ),
    Mutant(
        name="a redirect is followed",
        kind="scope",
        file="integration_service/targets/posting.py",
        text="allow_redirects=False",
        instead="allow_redirects=True",
        tests=(f"{_WEBHOOK}::test_a_redirect_is_not_followed",),
    ),
    Mutant(
        name="a failure shows the webhook's URL",
        kind="scope",
        file="integration_service/targets/posting.py",
        text='Timeout(f"no connection within {CONNECT_SECONDS:g} s")',
        instead="Timeout(str(error))",
        tests=(f"{_WEBHOOK}::test_who_accepts_no_connection_is_waited_for_a_short_while",),
    ),
    Mutant(
        name="an answer with long headers is none",
        kind="boundary",
        file="integration_service/targets/posting.py",
        text="LONGEST_HEADER = 64 * 1024",
        instead="LONGEST_HEADER = 8 * 1024",
        tests=(f"{_WEBHOOK}::test_an_answer_may_have_long_headers",),
    ),
    Mutant(
        name="a blip is repeated once too often",
        kind="boundary",
        file="integration_service/targets/http.py",
        text="            raise failed.pop()\n",
        instead="            failed.pop()\n",
        tests=("tests/integration_service/targets/test_failures.py",),
    ),
    Mutant(
        name="the wish for no more events is one event's failure",
        kind="order",
        file="integration_service/targets/failures.py",
        text='        return Gone("it answered 410: it wants no more events", **kept)\n',
        instead='        return NotAccepted("it answered 410: it wants no more events", **kept)\n',
        tests=(f"{_WEBHOOK}::test_410_says_that_it_wants_no_more",),
    ),
    Mutant(
        name="a 4xx opens the circuit at once",
        kind="condition",
        file="integration_service/targets/failures.py",
        text='    return NotAccepted(f"it answered {status}", **kept)\n',
        instead='    return Misconfigured(f"it answered {status}", **kept)\n',
        tests=(f"{_WEBHOOK}::test_a_refusal_is_a_matter_of_this_event_until_others_fail_too",),
    ),
    Mutant(
        name="an excerpt is cut before it is cleaned",
        kind="order",
        file="integration_service/targets/excerpts.py",
        text='.sub(" ", content.decode(errors="replace")).strip()[:_LOOKED_AT]',
        instead='.sub(" ", content.decode(errors="replace")).strip()[:LARGEST_EXCERPT]',
        tests=(f"{_EXCERPTS}::test_what_is_cut_was_cleaned_before",),
    ),
    Mutant(
        name="an excerpt keeps the customer's name as an answer in JSON repeats it",
        kind="dropped",
        file="integration_service/targets/excerpts.py",
        text="    yield json.dumps(value)[1:-1]\n",
        instead="",
        tests=(f"{_EXCERPTS}::test_an_excerpt_is_one_clean_line",),
    ),
    Mutant(
        name="sequences do not sort as texts",
        kind="boundary",
        file="integration_service/targets/webhook.py",
        text="SEQUENCE_DIGITS = 19",
        instead="SEQUENCE_DIGITS = 18",
        tests=(f"{_WEBHOOK}::test_sequences_sort_as_texts_do",),
    ),
    Mutant(
        name="an event that the feed has elsewhere is looked for where it was",
        kind="dropped",
        file="integration_service/deliveries/store.py",
        text="            if one.sequence != sequences[one.subject]\n",
        instead="            if one.sequence != sequences[one.subject] and False\n",
        tests=(f"{_RESTORED}::test_what_is_still_owed_is_looked_for_where_it_stands_now",),
    ),
    Mutant(
        name="whatever is dead is sent again when the feed is read anew",
        kind="scope",
        file="integration_service/deliveries/models.py",
        text='return self.state == "dead" and self.error_class == Refused.error_class',
        instead='return self.state == "dead"',
        tests=(f"{_RESTORED}::test_what_is_settled_for_another_reason_stays_so",),
    ),
    Mutant(
        name="an event that was looked up by an old position is dead",
        kind="condition",
        file="integration_service/deliveries/reporting.py",
        text='if its.state == "dead"]',
        instead='if its.state == "delivered"]',
        tests=(
            f"{_RESTORED}::test_what_is_looked_up_while_the_feed_is_read_anew_is_looked_up_again",
        ),
    ),
]
