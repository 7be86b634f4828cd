"""Bugs for an OpenID provider's tokens."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/service_kit/test_oidc.py"
_FORGERY = f"{_TESTS}::test_a_forgery_is_refused_by_all_and_hears_what_nobody_hears"
_KEYS = "service_kit/web/jwks.py"
_TOKENS = "service_kit/web/oidc.py"

MUTANTS = (
    Mutant(
        name="an ID token opens the API",
        kind="condition",
        file=_TOKENS,
        text="if any(name in claims for name in _OF_ID_TOKENS):",
        instead="if all(name in claims for name in _OF_ID_TOKENS):",
        tests=(_FORGERY,),
    ),
    Mutant(
        name="a token of any type opens the API",
        kind="condition",
        file=_TOKENS,
        text='if str(header.get("typ")).lower() not in _TYPES:',
        instead='if str(header.get("typ", "jwt")).lower() not in _TYPES:',
        tests=(_FORGERY,),
    ),
    Mutant(
        name="the client's own audience is enough",
        kind="scope",
        file=_TOKENS,
        text='_CLIENT = ("client_id", "azp", "appid", "cid")',
        instead='_CLIENT = ("client_id", "appid", "cid")',
        tests=(_FORGERY,),
    ),
    Mutant(
        name="an expiry that is written as text is a bug of ours",
        kind="condition",
        file=_TOKENS,
        text='clock.from_epoch(int(claims["exp"]))',
        instead='clock.from_epoch(claims["exp"])',
        tests=(f"{_TESTS}::test_what_providers_do_differently_is_accepted",),
    ),
    Mutant(
        name="a key is used for any algorithm of its type",
        kind="condition",
        file=_KEYS,
        text='return of_type & {key["alg"]} if "alg" in key else of_type',
        instead="return of_type",
        tests=(_FORGERY,),
    ),
    Mutant(
        name="the last of a person's roles counts",
        kind="order",
        file=_TOKENS,
        text="(role for named, role in self._roles if named in values)",
        instead="(role for named, role in self._roles[::-1] if named in values)",
        tests=(f"{_TESTS}::test_the_first_role_that_the_claim_names_counts",),
    ),
    Mutant(
        name="whoever calls themselves admin is shown as admin",
        kind="condition",
        file=_TOKENS,
        text="if shown.lower() not in RESERVED_NAMES:",
        instead="if shown not in RESERVED_NAMES:",
        tests=(f"{_TESTS}::test_a_person_is_shown_by_a_name_that_nobody_else_has",),
    ),
    Mutant(
        name="people of one provider share their Idempotency-Keys",
        kind="scope",
        file=_TOKENS,
        text='[:8]}:{subject}"',
        instead='[:8]}"',
        tests=(f"{_TESTS}::test_an_idempotency_key_is_the_persons_and_not_the_tokens",),
    ),
    Mutant(
        name="keys are fetched again a moment too early",
        kind="boundary",
        file=_KEYS,
        text="elif age > REFRESH_SECONDS and",
        instead="elif age >= REFRESH_SECONDS and",
        tests=(f"{_TESTS}::test_a_key_that_is_gone_is_refused_once_keys_were_fetched_again",),
    ),
    Mutant(
        name="each unknown key id asks the provider again",
        kind="condition",
        file=_KEYS,
        text="if self._fetching is not None or time.monotonic() >= self._paused_until:",
        instead="if True:",
        tests=(f"{_TESTS}::test_unknown_key_ids_make_no_flood_of_questions",),
    ),
    Mutant(
        name="an unknown key while the provider is away is a wrong token",
        kind="condition",
        file=_KEYS,
        text="""        if self._failure is not None:
            raise IdentityUnavailable from self._failure
""",
        instead="",
        tests=(
            f"{_TESTS}::test_known_keys_go_on_while_the_provider_is_away_and_unknown_ones_wait",
        ),
    ),
    Mutant(
        name="keys are used for ever",
        kind="condition",
        file=_KEYS,
        text="age is None or age > KEPT_SECONDS or not",
        instead="age is None or not",
        tests=(f"{_TESTS}::test_keys_are_not_believed_for_ever",),
    ),
    Mutant(
        name="another issuer's document is believed",
        kind="condition",
        file=_KEYS,
        text="if found.issuer != self._issuer:",
        instead="if not found.issuer:",
        tests=(f"{_TESTS}::test_a_discovery_document_that_is_not_the_issuers_is_not_believed",),
    ),
)
