"""Planted bugs in the kit's web package."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/service_kit"
_IDEMPOTENCY = f"{_TESTS}/test_idempotency.py"
_OVERLOAD = f"{_TESTS}/test_overload.py"
_RATES = f"{_TESTS}/test_rate_limits.py"

MUTANTS = [
    Mutant(
        name="a weak tag, as a proxy makes it that compresses, is taken for a version",
        kind="condition",
        file="service_kit/web/etags.py",
        text="return frozenset(int(tag) for tag in _TAG.findall(if_match))",
        instead="return frozenset(int(tag) for tag in _ANY_TAG.findall(if_match))",
        tests=(f"{_TESTS}/test_etags.py::test_any_other_is_refused",),
    ),
    Mutant(
        name="a token that nobody looks at helps past the rate limit",
        kind="condition",
        file="service_kit/web/rate_limits.py",
        text='if not scope["slot"].is_counted:',
        instead='if not (scope["slot"].is_counted or scope["slot"].shows_token):',
        tests=(f"{_RATES}::test_a_token_that_nobody_looks_at_helps_nobody_past_the_limit",),
    ),
    Mutant(
        name="who sends slowly holds a place until the body is complete",
        kind="dropped",
        file="service_kit/web/overload.py",
        text="    slot.leave()\n    message = await receive()\n",
        instead="    message = await receive()\n",
        tests=(f"{_OVERLOAD}::test_a_body_that_is_still_coming_holds_no_place",),
    ),
    Mutant(
        name="the bodies of a caller are its own once they are complete",
        kind="dropped",
        file="service_kit/web/overload.py",
        text="        self._body_bytes += number\n",
        instead="",
        tests=(f"{_OVERLOAD}::test_the_bodies_of_a_caller_leave_memory_to_those_of_others",),
    ),
    Mutant(
        name="tokens of one address share its places",
        kind="scope",
        file="service_kit/web/overload.py",
        text="        self.caller = caller\n        if had_place:",
        instead="        if had_place:",
        tests=(f"{_OVERLOAD}::test_tokens_of_one_address_have_a_share_each",),
    ),
    Mutant(
        name="a full page is followed by an empty one",
        kind="boundary",
        file="service_kit/web/paging.py",
        text="more = len(rows) > limit",
        instead="more = len(rows) >= limit",
        tests=(f"{_TESTS}/test_paging.py::test_pages_follow_each_other_to_the_end",),
    ),
    Mutant(
        name="one more waits for news than may",
        kind="boundary",
        file="service_kit/process/shares.py",
        text="if self.taken + number > self.most - reserved:",
        instead="if self.taken + number > self.most - reserved + 1:",
        tests=(
            f"{_OVERLOAD}::test_those_who_wait_for_news_take_nobodys_place_and_have_a_bound_of_their_own",
        ),
    ),
    Mutant(
        name="a stranger is told which parameters there are",
        kind="order",
        file="service_kit/web/auth.py",
        text="""    if route.needs_token:
        await _authorize(scope, route.required)
    else:
        scope["app"].state.limits.count_by_address(scope)
    scope["query"] = read_query(scope, route.query_parameters)
""",
        instead="""    scope["query"] = read_query(scope, route.query_parameters)
    if route.needs_token:
        await _authorize(scope, route.required)
    else:
        scope["app"].state.limits.count_by_address(scope)
""",
        tests=(
            f"{_TESTS}/test_query.py::test_who_may_not_ask_is_told_nothing_of_what_there_is_to_ask",
        ),
    ),
    Mutant(
        name="who is in two stored batches more than once is blanked once in each",
        kind="order",
        file="service_kit/web/idempotency.py",
        text="            .order_by(keys.c.id)\n            .with_for_update",
        instead="            .order_by(subjects.c.item)\n            .with_for_update",
        tests=(
            f"{_IDEMPOTENCY}::test_who_is_in_many_answers_more_than_once_is_in_none_afterwards",
        ),
    ),
    Mutant(
        name="tokens of one role share their stored answers",
        kind="scope",
        file="service_kit/web/idempotency.py",
        text="principal_of(request).credential",
        instead="principal_of(request).role",
        tests=(
            "tests/crm_api/test_idempotency_keys.py::test_tokens_of_one_role_have_keys_of_their_own",
        ),
    ),
    Mutant(
        name="the address of the next page has the cursor of this one too",
        kind="scope",
        file="service_kit/web/paging.py",
        text='if part and unquote(part.partition("=")[0]) != "cursor"]',
        instead="if part]",
        tests=(f"{_TESTS}/test_paging.py::test_the_next_page_has_one_cursor",),
    ),
    Mutant(
        name="who sends no bearer token at all may try for ever",
        kind="dropped",
        file="service_kit/web/auth.py",
        text='            self._limits.count_failure(scope, "", "malformed")\n',
        instead="",
        tests=(f"{_RATES}::test_what_is_no_bearer_token_counts_as_a_wrong_one",),
    ),
    Mutant(
        name="a request that is over keeps its place",
        kind="dropped",
        file="service_kit/web/overload.py",
        text="            self._places.give_back(self.caller)\n",
        instead="",
        tests=(f"{_OVERLOAD}::test_more_than_a_number_at_once_is_refused_and_the_rest_served",),
    ),
    Mutant(
        name="what was done with a key is done again",
        kind="dropped",
        file="service_kit/web/idempotency.py",
        text="            self.answers.keep(db, call, self.fingerprint, given)\n",
        instead="",
        tests=(f"{_IDEMPOTENCY}::test_the_first_answer_comes_again_and_nothing_is_done_again",),
    ),
    Mutant(
        name="probes have to know the service's name",
        kind="scope",
        file="service_kit/web/hosts.py",
        text='scope["path"] in UNLIMITED or ',
        instead="",
        tests=(f"{_TESTS}/test_hosts.py::test_probes_are_answered_under_any_name",),
    ),
    Mutant(
        name="a host that ends like an allowed one is allowed",
        kind="scope",
        file="service_kit/web/hosts.py",
        text="tuple(name[1:] for name in allowed",
        instead="tuple(name[2:] for name in allowed",
        tests=(f"{_TESTS}/test_hosts.py::test_another_name_is_told_so_and_nothing_else",),
    ),
    Mutant(
        name="what says who may keep it is told otherwise as well",
        kind="condition",
        file="service_kit/web/edge.py",
        text="""    if b"cache-control" in names:
        return ()
""",
        instead="",
        tests=(f"{_TESTS}/test_edge.py",),
    ),
    Mutant(
        name="letters of several scripts make one name",
        kind="boundary",
        file="service_kit/web/fields.py",
        text='.startswith("L")}) > 1:',
        instead='.startswith("L")}) > 2:',
        tests=(f"{_TESTS}/test_fields.py::test_a_name_that_can_look_like_another_is_refused",),
    ),
    Mutant(
        name="an instant is longer than described",
        kind="boundary",
        file="service_kit/web/fields.py",
        text="len(value) <= LONGEST_INSTANT and",
        instead="len(value) <= LONGEST_INSTANT + 1 and",
        tests=(f"{_TESTS}/test_fields.py::test_what_is_no_instant_of_rfc_3339_is_refused",),
    ),
    Mutant(
        name="a list is described without a limit",
        kind="dropped",
        file="service_kit/web/openapi_schemas.py",
        text="            _limit_lists(operation)\n",
        instead="",
        tests=("tests/test_openapi.py::test_a_list_has_at_most_what_is_asked_for_or_sent",),
    ),
]
