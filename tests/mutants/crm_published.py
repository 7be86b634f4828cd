"""Planted bugs in what is published about events."""

from tests.mutants.mutant import Mutant

_DESCRIPTIONS = "tests/crm_api/test_event_descriptions.py"
_SCHEMAS = "tests/crm_api/test_event_schemas.py"

MUTANTS = [
    Mutant(
        name="a schema says nothing of its event's data",
        kind="scope",
        file="crm_api/published/schemas.py",
        text='"data": (data, ...)}',
        instead='"data": (dict[str, Any], ...)}',
        tests=(f"{_SCHEMAS}::test_what_is_never_sent_matches_none",),
    ),
    Mutant(
        name="each type has the schema of the first",
        kind="condition",
        file="crm_api/published/schemas.py",
        text="schema_of(event) for event in EVENTS}",
        instead="schema_of(EVENTS[0]) for event in EVENTS}",
        tests=(f"{_SCHEMAS}::test_the_whole_schema_holds_that_of_each_type",),
    ),
    Mutant(
        name="a version has more digits than an entity tag is read with",
        kind="boundary",
        file="crm_api/published/router.py",
        text=".digest()[:7]",
        instead=".digest()[:8]",
        tests=(f"{_SCHEMAS}::test_a_reader_asks_only_for_schemas_that_it_does_not_have",),
    ),
    Mutant(
        name="one type of event has no webhook",
        kind="dropped",
        file="crm_api/published/webhooks.py",
        text="for _event in EVENTS:",
        instead="for _event in EVENTS[1:]:",
        tests=(f"{_DESCRIPTIONS}::test_there_is_a_webhook_for_each_type",),
    ),
    Mutant(
        name="a webhook's sequence has a digit too few",
        kind="boundary",
        file="crm_api/published/webhooks.py",
        text="['sequence']:019}",
        instead="['sequence']:018}",
        tests=(f"{_DESCRIPTIONS}::test_a_webhook_sends_what_the_feed_shows",),
    ),
    Mutant(
        name="a page holds events of any kind",
        kind="scope",
        file="crm_api/published/asyncapi.py",
        text="events=(list[_ANY_EVENT], ...)",
        instead="events=(list[dict[str, Any]], ...)",
        tests=(f"{_DESCRIPTIONS}::test_a_page_of_the_feed_is_as_asyncapi_says",),
    ),
    Mutant(
        name="a message has the example of another",
        kind="order",
        file="crm_api/published/asyncapi.py",
        text='"payload": webhooks.example_of_body(event)}',
        instead='"payload": webhooks.example_of_body(EVENTS[0])}',
        tests=(f"{_DESCRIPTIONS}::test_a_message_holds_what_the_feed_shows",),
    ),
]
