"""Planted bugs in who a caller is: tokens that the CRM is asked about, and what is told of them."""

from tests.mutants.mutant import Mutant

_ACCESS = "tests/test_access.py"
_ASKS = "service_kit/web/introspection.py"
_ANSWERS = "tests/service_kit/introspection/test_answers.py"
_FLOODS = "tests/service_kit/introspection/test_floods.py"

MUTANTS = [
    Mutant(
        name="a question is counted although its token was valid",
        kind="dropped",
        file=_ASKS,
        text="                self._failures.give_back(suspect)\n",
        instead="                pass\n",
        tests=(f"{_FLOODS}::test_only_tokens_that_are_invalid_count",),
    ),
    Mutant(
        name="a token in use is refused for its neighbour's guesses",
        kind="condition",
        file=_ASKS,
        text="suspect = None if digest in self._accepted else address_of(scope)",
        instead="suspect = address_of(scope)",
        tests=(
            f"{_FLOODS}::test_whoever_invents_tokens_may_ask_sixty_times_and_harms_nobody_else",
        ),
    ),
    Mutant(
        name="the CRM is asked about a token with a typing error",
        kind="condition",
        file=_ASKS,
        text="        if not minting.is_wellformed(token):\n            return None\n",
        instead="",
        tests=(f"{_FLOODS}::test_nobody_is_asked_about_what_can_be_no_token",),
    ),
    Mutant(
        name="what an active token lacks is made up",
        kind="condition",
        file=_ASKS,
        text="if self.active and not (self.username and self.role and self.sub):",
        instead="if self.active and not (self.username or self.role or self.sub):",
        tests=(f"{_ANSWERS}::test_a_crm_that_does_not_answer_makes_it_a_503_and_the_log_says_why",),
    ),
    Mutant(
        name="an answer is believed for an instant too long",
        kind="boundary",
        file=_ASKS,
        text="return time.monotonic() - self.asked_at < BELIEVED_SECONDS",
        instead="return time.monotonic() - self.asked_at <= BELIEVED_SECONDS",
        tests=(f"{_ANSWERS}::test_one_question_serves_all_requests_of_five_seconds",),
    ),
    Mutant(
        name="a token that the CRM has told about is good at the instant at which it expires",
        kind="boundary",
        file=_ASKS,
        text="who.expires_at <= clock.now()",
        instead="who.expires_at < clock.now()",
        tests=(f"{_ANSWERS}::test_a_token_is_refused_from_the_instant_it_expires",),
    ),
    Mutant(
        name="the age of an answer is counted from when it came",
        kind="order",
        file=_ASKS,
        text="""        asked_at = time.monotonic()
        is_invalid = False
        try:
            answer = await self._introspect(token)
            is_invalid = not answer.active
""",
        instead="""        is_invalid = False
        try:
            answer = await self._introspect(token)
            asked_at = time.monotonic()
            is_invalid = not answer.active
""",
        tests=(f"{_ANSWERS}::test_an_answer_is_as_old_as_its_question",),
    ),
    Mutant(
        name="the newest answer is forgotten for want of room",
        kind="order",
        file=_ASKS,
        text="keep.popitem(last=False)",
        instead="keep.popitem()",
        tests=(f"{_FLOODS}::test_what_is_remembered_is_bounded_and_refusals_drive_out_no_token",),
    ),
    Mutant(
        name="the CRM may grant what a role does not have here",
        kind="scope",
        file=_ASKS,
        text="ROLES.get(self.role, frozenset()) & frozenset(self.scope.split())",
        instead="frozenset(self.scope.split())",
        tests=(f"{_ANSWERS}::test_the_scopes_of_an_answer_are_never_more_than_its_role_has",),
    ),
    Mutant(
        name="refusals take the room of tokens that are in use",
        kind="scope",
        file=_ASKS,
        text=" if answer.active else (self._refused, self._accepted)",
        instead="",
        tests=(f"{_FLOODS}::test_what_is_remembered_is_bounded_and_refusals_drive_out_no_token",),
    ),
    Mutant(
        name="who hangs up ends the question of all who wait for it",
        kind="dropped",
        file=_ASKS,
        text="return await asyncio.shield(task)",
        instead="return await task",
        tests=(f"{_ANSWERS}::test_one_question_is_on_its_way_for_all_who_show_the_same_token",),
    ),
    Mutant(
        name="each caller asks for itself",
        kind="dropped",
        file=_ASKS,
        text="task = self._asking[digest] = asyncio.create_task(",
        instead="task = asyncio.create_task(",
        tests=(f"{_ANSWERS}::test_one_question_is_on_its_way_for_all_who_show_the_same_token",),
    ),
    Mutant(
        name="a narrow token is told that its role lacks the scope",
        kind="scope",
        file="service_kit/web/auth.py",
        text="if missing <= ROLES.get(who.role, frozenset()):",
        instead="if missing <= who.scopes:",
        tests=(f"{_ACCESS}::test_a_narrow_token_may_do_that_part_of_it",),
    ),
    Mutant(
        name="of two tokens the first counts",
        kind="condition",
        file="service_kit/web/auth.py",
        text="if len(given) != 1 or scheme",
        instead="if scheme",
        tests=(f"{_ACCESS}::test_nobody_gets_past_a_guarded_route",),
    ),
    Mutant(
        name="a caller is told of scopes that are other services'",
        kind="scope",
        file="service_kit/web/me.py",
        text="sorted(who.scopes & here)",
        instead="sorted(who.scopes)",
        tests=(f"{_ACCESS}::test_a_caller_is_told_who_it_is_at_every_service",),
    ),
]
