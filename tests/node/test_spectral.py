"""Spectral reads the three descriptions by OWASP's rules: what it still finds has a reason here."""

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import SERVICES
from tests.described import description

HERE = Path(__file__).parent
SPECTRAL = "node_modules/@stoplight/spectral-cli/dist/index.js"
MOST_EXCEPTIONS = 10
SCHEMAS = "#/components/schemas/"
# The parts of an operation that tell what a caller sends.
REQUEST = ("parameters", "requestBody")

Json = dict[str, Any]


class Finding(NamedTuple):
    """A rule that is broken, and where: `crm_api request /api/tickets get parameters tag schema`.

    A schema that is part of both a request and an answer counts as the request's.
    """

    rule: str
    place: str


class AllowedFinding(NamedTuple):
    """A finding that stays: its rule, a regular expression of the whole place, and why."""

    rule: str
    places: str
    reason: str

    def allows(self, found: Finding) -> bool:
        return found.rule == self.rule and bool(re.fullmatch(self.places, found.place))


# Whatever no request reaches is of the answers alone.
ANSWERS = r"\w+ answer .*"
PUBLIC = r"\w+ answer (/health|/health/ready|/metrics) get\b.*"
FREE_TEXTS = (
    "name|company|phone|metadata|external_ref|subject|description|assignee|body|note|reason|"
    "customer_name|actor|q|lines|postal_code|city|region"
)
KEYS = (
    "customer|customer_ids?|customer_uid|request_ids?|sku|cursor|after|since|types|If-Match|"
    "If-None-Match|token|token_type_hint"
)
GROWING = (
    "PickList properties items|Stats properties low_stock|Verification properties differences|"
    "Repair properties repaired|DeliveryDetail properties attempts|Fault properties loc|"
    "RouteOut properties (on|undo_on)|ChangedTicketData properties changed"
)
EXCEPTIONS = [
    AllowedFinding(
        "api2:2023-read-restricted",
        PUBLIC,
        "A probe and a scraper have no token, and learn nothing about anybody.",
    ),
    AllowedFinding(
        "api8:2023-define-error-responses-401", PUBLIC, "They ask for no token, so refuse none."
    ),
    AllowedFinding(
        "api4:2023-rate-limit", PUBLIC, "A service under attack has to answer its probes."
    ),
    AllowedFinding("api4:2023-rate-limit-responses-429", PUBLIC, "As above: they are not limited."),
    AllowedFinding(
        "api1:2023-no-numeric-ids",
        r"crm_api request \S+ \w+ parameters (ticket_id|token_id|customer_id|import_id) schema",
        "The contract promises the CRM's integer ids. Scopes guard them, not that they are secret.",
    ),
    AllowedFinding(
        "api2:2023-no-credentials-in-url",
        r"crm_api request /api/tokens/{token_id} delete parameters token_id name",
        "A token's id says which one it is; it does not let anybody in.",
    ),
    AllowedFinding(
        "api4:2023-string-restricted",
        rf"{ANSWERS}|\w+ request .* (parameters|properties) ({FREE_TEXTS}|{KEYS})( .*)?",
        "A text for people has no pattern, and what is no key of ours is answered 404.",
    ),
    AllowedFinding(
        "api4:2023-string-limit",
        ANSWERS,
        "What callers can make long is limited where it comes in; a limit here would be invented.",
    ),
    AllowedFinding(
        "api4:2023-integer-limit",
        ANSWERS,
        "A count, an id or a position grows as long as there is room: 64 bits.",
    ),
    AllowedFinding(
        "api4:2023-array-limit",
        rf"\w+ answer (schemas ({GROWING})|/routes get responses 200 .*)",
        "They list all that there is, or that an operator has set; nothing limits that.",
    ),
]


def reached(document: Json, place: Any, seen: set[str]) -> set[str]:
    """Name the schemas that a place refers to, also by way of others."""
    for inner in place.values() if isinstance(place, dict) else place:
        if isinstance(inner, dict | list):
            reached(document, inner, seen)
        elif isinstance(inner, str) and inner.startswith(SCHEMAS):
            name = inner.removeprefix(SCHEMAS)
            if name not in seen:
                seen.add(name)
                reached(document, document["components"]["schemas"][name], seen)
    return seen


def of_requests(document: Json) -> set[str]:
    """Name the schemas of which something is sent."""
    sent = [
        operation.get(part, [])
        for methods in document["paths"].values()
        for operation in methods.values()
        for part in REQUEST
    ]
    return reached(document, sent, set())


def place_of(name: str, document: Json, sent: set[str], path: list[str]) -> str:
    """Say where a finding is: parameters by their names, so that none moves another's place."""
    root, *rest = path
    if root == "components":
        is_sent = rest[0] == "schemas" and rest[1] in sent
    else:
        # What a webhook takes is ours, as an answer is.
        is_sent = root == "paths" and len(rest) > 2 and rest[2] in REQUEST
        if rest[2:3] == ["parameters"]:
            at, method, _, number, *_ = rest
            rest[3] = document[root][at][method]["parameters"][int(number)]["name"]
    return " ".join([name, "request" if is_sent else "answer", *rest])


Read = Callable[[dict[str, Json]], set[Finding]]


@pytest.fixture
def read(node: Callable[[str], list[str]], tmp_path: Path) -> Read:
    """Let Spectral read descriptions: all of them at once, since it takes seconds to start."""

    def find(documents: dict[str, Json]) -> set[Finding]:
        paths = {name: tmp_path / f"{name}.json" for name in documents}
        for name, path in paths.items():
            path.write_text(json.dumps(documents[name]))
        rules = f"--ruleset={HERE / 'spectral.yaml'}"
        run = subprocess.run(
            [*node(SPECTRAL), "lint", rules, "--format=json", "--quiet", *map(str, paths.values())],
            check=False,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert run.returncode in {0, 1}, run.stderr  # 1: it has found an error
        sent = {name: of_requests(document) for name, document in documents.items()}
        found = set()
        for one in json.loads(run.stdout):
            name, path = Path(one["source"]).stem, [str(part) for part in one["path"]]
            rule = one["code"].removeprefix("owasp:")
            found.add(Finding(rule, place_of(name, documents[name], sent[name], path)))
        return found

    return find


def unexplained(found: set[Finding]) -> list[str]:
    return sorted(
        f"{one.rule}: {one.place}"
        for one in found
        if not any(exception.allows(one) for exception in EXCEPTIONS)
    )


@pytest.mark.timeout(300)
def test_whatever_spectral_finds_has_a_reason(read: Read) -> None:
    found = read({service: description(service) for service in SERVICES})

    assert unexplained(found) == []
    idle = [one for one in EXCEPTIONS if not any(map(one.allows, found))]
    assert idle == [], "these find nothing any more: take them off the list"
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS


@pytest.mark.timeout(300)
def test_what_a_description_lacks_would_be_found(read: Read) -> None:
    document = copy.deepcopy(description("crm_api"))
    schemas, listed = document["components"]["schemas"], document["paths"]["/api/tickets"]["get"]
    del schemas["NoteNew"]["properties"]["body"]["maxLength"]
    del schemas["TicketNew"]["properties"]["customer_id"]["exclusiveMaximum"]
    del schemas["Event"]["properties"]["sequence"]["format"]
    del listed["security"]
    del schemas["TicketOut"]["properties"]["tags"]["maxItems"]
    del listed["responses"]["200"]["headers"]["Access-Control-Allow-Origin"]
    listed["parameters"].append(
        {"name": "nickname", "in": "query", "schema": {"type": "string", "maxLength": 9}}
    )

    assert unexplained(read({"crm_api": document})) == [
        "api2:2023-read-restricted: crm_api answer /api/tickets get",
        "api4:2023-array-limit: crm_api answer schemas TicketOut properties tags",
        "api4:2023-integer-format: crm_api answer schemas Event properties sequence",
        "api4:2023-integer-limit: crm_api request schemas TicketNew properties customer_id",
        "api4:2023-string-limit: crm_api request schemas NoteNew properties body",
        "api4:2023-string-restricted: crm_api request /api/tickets get parameters nickname schema",
        "api8:2023-define-cors-origin: crm_api answer /api/tickets get responses 200 headers",
    ]
