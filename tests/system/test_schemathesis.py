"""schemathesis looks for an answer that the OpenAPI descriptions do not promise.

It sends real services what the descriptions allow and what they forbid, and follows their links.
Its choices are the same each time, and bounded by numbers of requests, never by time. It tries what
lies at the limits of all operations, on both engines, in `make sweeps`; in `make test` of each
twelfth one, on SQLite, and with fewer choices of each kind.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.engine import events, from_schema

from tests.conftest import SERVICES, bearer
from tests.described import description
from tests.system.stack import BUG, Stack

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "ignored_auth",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
)
# So many of what each operation takes are tried, and so many ways from one operation to the next.
MOST_EXAMPLES = 3


def settings(service: str, url: str, engine: str) -> dict[str, Any]:
    return {
        "seed": 1,
        "base-url": url,
        "headers": bearer("admin123"),
        "continue-on-failure": True,
        "request-timeout": 30,
        "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
        "generation": {
            "deterministic": True,
            "database": "none",
            "no-shrink": True,
        },
        "phases": {
            # What the limits of each field are is in the description. PostgreSQL takes less than
            # SQLite does, and test_bad_input.py sends both what lies at the limits and beyond.
            "coverage": {
                "enabled": engine == "postgresql",
                "unexpected-methods": ["put", "trace"],
            },
            "fuzzing": {"generation": {"max-examples": MOST_EXAMPLES}},
            "stateful": {"max-steps": 6, "generation": {"max-examples": MOST_EXAMPLES}},
        },
        "operations": [
            {
                # It takes items of any shape, and says for each by itself what is wrong with it.
                "include-path-regex": "/(batch|addresses)$",
                "checks": {"negative_data_rejection": {"enabled": False}},
            },
            {
                # It says 504 when the time is up; what is tried here is not how time goes by.
                "include-path-regex": "/wait$",
                "parameters": {"query.timeout": 0},
                "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "4xx", "504"]}},
            },
            {
                # Whoever is erased stays as a number: blank, and still there.
                "include-path-regex": "/customers/.customer.",
                "checks": {"use_after_free": {"enabled": False}},
            },
            {"include-path-regex": "/events$", "parameters": {"query.wait": 0}},
        ],
    }


class Search:
    """One search through a service, and what it found."""

    def __init__(self, service: str, url: str, engine: str) -> None:
        config = schemathesis.Config.from_dict(settings(service, url, engine))
        # A copy, for it notes in the document what it learns.
        document = copy.deepcopy(description(service))
        self._schema = schemathesis.openapi.from_dict(document, config=config)
        self.faults: set[str] = set()
        self.tried: set[str] = set()

    def run(self) -> None:
        for event in from_schema(self._schema).execute():
            if isinstance(event, events.NonFatalError | events.FatalError):
                self.faults.add(f"schemathesis itself: {event}")
            elif isinstance(event, events.ScenarioFinished):
                if event.recorder.interactions:
                    self.tried.add(event.recorder.label)
                self.faults.update(_faults_of(event))


def _faults_of(event: events.ScenarioFinished) -> Iterator[str]:
    for checks in event.recorder.checks.values():
        for check in checks:
            if (found := check.failure_info) is not None:
                fault = found.failure
                yield f"{fault.operation}: {fault.title}\n{fault.message}\n{found.code_sample}"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_as_it_is_promised(stack: Stack, engine: str, service: str) -> None:
    stack.crm.environment["SEED_DEMO_DATA"] = "true"
    server = stack.server(service)
    if server is stack.integration:
        stack.start()
    else:
        server.restart()
    search = Search(service, server.url, engine)

    search.run()

    assert not search.faults, "\n\n".join(sorted(search.faults)) + server.tail()
    assert not BUG.search(server.logged()), server.tail()
    operations = {
        f"{method.upper()} {path}"
        for path, methods in description(service)["paths"].items()
        for method in methods
    }
    assert operations <= search.tried
