"""Planted bugs in tokens."""

from tests.mutants.mutant import Mutant

_CREATE_TOKEN = "tests/crm_api/test_create_token.py"
_INTROSPECTION = "tests/crm_api/test_introspection.py"
_SCOPES = "tests/crm_api/test_token_scopes.py"
_TOKENS = "tests/crm_api/test_tokens.py"

MUTANTS = [
    Mutant(
        name="each look-up is written down as a use",
        kind="condition",
        file="crm_api/tokens/known.py",
        text="""        if row.last_used_at is not None and now - row.last_used_at < USE_PRECISION:
            return
""",
        instead="",
        tests=(f"{_TOKENS}::test_the_last_use_is_written_down_about_once_a_minute",),
    ),
    Mutant(
        name="revoking once more revokes anew",
        kind="condition",
        file="crm_api/tokens/store.py",
        text='.where(tokens.c.id == bindparam("token"), tokens.c.revoked_at.is_(None))',
        instead='.where(tokens.c.id == bindparam("token"))',
        tests=(f"{_TOKENS}::test_issuing_and_revoking_are_in_the_audit",),
    ),
    Mutant(
        name="a token with a typing error costs a look at the database",
        kind="condition",
        file="service_kit/web/minting.py",
        text=" and _checksum(token[:-_CHECKSUM]) == token[-_CHECKSUM:]",
        instead="",
        tests=(f"{_TOKENS}::test_a_guess_is_refused_before_the_database_is_asked",),
    ),
    Mutant(
        name="a token is remembered for ever",
        kind="condition",
        file="crm_api/tokens/known.py",
        text="return time.monotonic() - self.read_at < MAX_AGE_SECONDS",
        instead="return self.read_at > 0",
        tests=(f"{_TOKENS}::test_what_another_process_has_changed_counts_here_too",),
    ),
    Mutant(
        name="a token is good at the instant at which it expires",
        kind="boundary",
        file="crm_api/tokens/known.py",
        text="expires_at <= clock.now()",
        instead="expires_at < clock.now()",
        tests=(f"{_TOKENS}::test_a_remembered_token_is_refused_from_the_instant_it_expires",),
    ),
    Mutant(
        name="a token may expire at the instant at which it is issued",
        kind="boundary",
        file="crm_api/tokens/service.py",
        text="new.expires_at <= now",
        instead="new.expires_at < now",
        tests=(f"{_TOKENS}::test_a_token_that_would_expire_at_once_is_not_issued",),
    ),
    Mutant(
        name="the cache keeps one token too many",
        kind="boundary",
        file="crm_api/tokens/known.py",
        text="if len(self._cached) >= REMEMBERED:",
        instead="if len(self._cached) > REMEMBERED:",
        tests=(f"{_TOKENS}::test_more_tokens_than_are_remembered_all_work",),
    ),
    Mutant(
        name="a token may expire in no days",
        kind="boundary",
        file="crm_api/tokens/command.py",
        text="if not 1 <= options",
        instead="if not 0 <= options",
        tests=(f"{_CREATE_TOKEN}::test_a_call_that_makes_no_sense_is_refused_with_its_reason",),
    ),
    Mutant(
        name="the age of a token is counted from the answer of the database",
        kind="order",
        file="crm_api/tokens/known.py",
        text="""        read_at = time.monotonic()
        self._cached.pop(digest, None)
        row = await self._database.read(store.find, digest)
""",
        instead="""        self._cached.pop(digest, None)
        row = await self._database.read(store.find, digest)
        read_at = time.monotonic()
""",
        tests=(f"{_TOKENS}::test_a_token_is_as_old_as_the_look_that_found_it_began",),
    ),
    Mutant(
        name="the cache drops the token that was read last",
        kind="order",
        file="crm_api/tokens/known.py",
        text="del self._cached[next(iter(self._cached))]",
        instead="del self._cached[next(reversed(self._cached))]",
        tests=(f"{_TOKENS}::test_more_tokens_than_are_remembered_all_work",),
    ),
    Mutant(
        name="an earlier use overwrites a later one",
        kind="scope",
        file="crm_api/tokens/store.py",
        text='or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < bindparam("at")),',
        instead="",
        tests=(f"{_TOKENS}::test_a_use_that_is_written_late_leaves_a_later_one",),
    ),
    Mutant(
        name="tokens of one role answer for each other's keys",
        kind="scope",
        file="crm_api/tokens/known.py",
        text='f"token:{row.id}"',
        instead='f"token:{row.role}"',
        tests=(f"{_TOKENS}::test_a_token_that_replaces_another_does_not_answer_for_its_keys",),
    ),
    Mutant(
        name="the token's text is kept in the stored answer",
        kind="scope",
        file="crm_api/tokens/router.py",
        text="lambda issued: _answer(issued.row)",
        instead="lambda issued: _answer(issued.row, issued.token)",
        tests=(
            f"{_TOKENS}::test_the_same_request_again_issues_nothing_and_can_not_show_the_token",
        ),
    ),
    Mutant(
        name="a reserved name in capitals is allowed",
        kind="scope",
        file="crm_api/tokens/schemas.py",
        text="if value.lower() in RESERVED_NAMES",
        instead="if value in RESERVED_NAMES",
        tests=(f"{_TOKENS}::test_a_token_that_makes_no_sense_is_refused",),
    ),
    Mutant(
        name="a name that is taken is answered as a bug of ours",
        kind="dropped",
        file="crm_api/tokens/service.py",
        text="""    if row is None:
        raise TokenNameTaken("Another token has this name. A revoked one keeps its own.")
""",
        instead="    assert row is not None\n",
        tests=(f"{_TOKENS}::test_a_name_is_one_tokens_alone_for_ever",),
    ),
    Mutant(
        name="a process accepts a token that it has revoked",
        kind="dropped",
        file="crm_api/tokens/router.py",
        text="    issued.forget(token_id)\n",
        instead="",
        tests=(f"{_TOKENS}::test_a_revoked_token_is_refused_at_once_where_it_was_revoked",),
    ),
    Mutant(
        name="uses that are not written yet are lost at the stop",
        kind="dropped",
        file="crm_api/tokens/known.py",
        text="""            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write(database)
""",
        instead="            await asyncio.gather(self._writing, return_exceptions=True)\n",
        tests=(f"{_TOKENS}::test_uses_that_are_not_written_yet_are_when_the_service_stops",),
    ),
    Mutant(
        name="a token is issued only where the database is there already",
        kind="dropped",
        file="crm_api/tokens/command.py",
        text="    cli.migrate_database(service, settings)\n",
        instead="",
        tests=(f"{_CREATE_TOKEN}::test_it_works_on_a_database_that_is_not_there_yet",),
    ),
    Mutant(
        name="a narrow token issues whole ones",
        kind="scope",
        file="crm_api/tokens/service.py",
        text="if beyond := frozenset(new.scopes or ROLES[new.role]) - who.scopes:",
        instead="if beyond := frozenset(new.scopes or ROLES[new.role]) - ROLES[who.role]:",
        tests=(f"{_SCOPES}::test_nobody_grants_more_than_he_has",),
    ),
    Mutant(
        name="a token without scopes of its own may always be issued",
        kind="condition",
        file="crm_api/tokens/service.py",
        text="frozenset(new.scopes or ROLES[new.role])",
        instead="frozenset(new.scopes or ())",
        tests=(f"{_SCOPES}::test_nobody_grants_more_than_he_has",),
    ),
    Mutant(
        name="a token may have scopes that its role lacks",
        kind="scope",
        file="crm_api/tokens/schemas.py",
        text="set(self.scopes or ()) - ROLES[self.role]:",
        instead='set(self.scopes or ()) - ROLES["admin"]:',
        tests=(f"{_SCOPES}::test_scopes_that_the_role_lacks_are_refused",),
    ),
    Mutant(
        name="a token keeps a scope that its role has lost",
        kind="scope",
        file="crm_api/tokens/known.py",
        text="scopes &= frozenset(row.scopes)",
        instead="scopes = frozenset(row.scopes)",
        tests=(f"{_SCOPES}::test_a_scope_that_its_role_has_lost_is_no_longer_the_tokens",),
    ),
    Mutant(
        name="the command issues whole tokens only",
        kind="dropped",
        file="crm_api/tokens/command.py",
        text='        "scopes": options.scopes,\n',
        instead="",
        tests=(f"{_SCOPES}::test_the_command_issues_narrow_tokens_too",),
    ),
    Mutant(
        name="others are told what this process remembers",
        kind="condition",
        file="crm_api/tokens/known.py",
        text="return await self._valid(minting.digest(token)) if minting.is_wellformed(token) "
        "else None",
        instead="return await self.find(token)",
        tests=(f"{_INTROSPECTION}::test_what_is_over_is_told_at_once_whatever_is_remembered",),
    ),
    Mutant(
        name="of two tokens in one question the first is told about",
        kind="boundary",
        file="crm_api/tokens/router.py",
        text="if len(tokens) != 1:",
        instead="if len(tokens) < 1:",
        tests=(f"{_INTROSPECTION}::test_a_question_is_a_form_with_one_token",),
    ),
    Mutant(
        name="the longest token may not be asked about",
        kind="boundary",
        file="crm_api/tokens/router.py",
        text="if any(len(value) > most for",
        instead="if any(len(value) >= most for",
        tests=(f"{_INTROSPECTION}::test_a_field_of_the_form_has_at_most_so_many_characters",),
    ),
]
