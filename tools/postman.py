"""Writes a Postman collection from the three OpenAPI descriptions: `make postman`.

A folder for each service and in it one for each resource; a request for each example, with the
answer it promises, and a script that holds the service to it. Ids are carried from one request to
the next by the collection's variables, so that all run in order on a database that is empty or has
the demo data alone.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tools.api_examples import (
    CSV,
    JSON,
    PROBLEM,
    Document,
    Example,
    Operation,
    examples,
    linked,
    links,
    operations,
)
from tools.api_samples import sample

ROOT = Path(__file__).parents[1]
COLLECTION = ROOT / "postman" / "crmsys.postman_collection.json"
FORMAT = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
# Each service's folder, the name its variables start with, and where it answers.
SERVICES = {
    "crm_api": ("CRM", "crm", "http://localhost:8000"),
    "inventory_api": ("Inventory", "inventory", "http://localhost:8001"),
    "integration_service": ("Integration", "integration", "http://localhost:8002"),
}
DESCRIPTION = (
    "The three services of crmsys. Start them with `make run`, then run the collection from top to "
    "bottom on new databases, or send any request by itself. Elsewhere set the three addresses and "
    "tokens."
)
# What no path names, by the type of what stands there.
NOWHERE = {"integer": 999_999_999, "string": "none-such"}
UNKNOWN_FIELD = {"no_such_field": True}

Item = dict[str, Any]


def collection(documents: Mapping[str, Document]) -> Item:
    """Build the collection from the services' descriptions."""
    variables: dict[str, Any] = {}
    for _, name, url in SERVICES.values():
        variables |= {f"{name}_url": url, f"{name}_token": "admin123"}
    folders = []
    for service, (title, name, _) in SERVICES.items():
        folder = Folder(documents[service], name)
        folders.append({"name": title, "auth": _bearer(f"{name}_token"), "item": folder.items()})
        variables |= folder.variables
    version = next(iter(documents.values()))["info"]["version"]
    return {
        "info": {"name": f"crmsys {version}", "description": DESCRIPTION, "schema": FORMAT},
        "variable": [{"key": key, "value": str(value)} for key, value in variables.items()],
        "item": folders,
    }


class Folder:
    """The requests of one service."""

    def __init__(self, document: Document, name: str) -> None:
        self._document = document
        self._name = name
        self._linked = linked(document)
        self.variables: dict[str, Any] = {}

    def items(self) -> list[Item]:
        """Build a folder for each resource, in the order in which the description has them."""
        resources: dict[str, list[Item]] = {}
        for methods in self._document["paths"].values():
            for said in methods.values():
                resources.setdefault(said["tags"][0], [])
        for operation in operations(self._document):
            resources[operation.said["tags"][0]] += self._items_of(operation)
        nobody = next(one for one in operations(self._document) if one.is_guarded)
        wrong = self._refused(self._first(nobody), "401", "not-authenticated")
        wrong["request"]["auth"] = {"type": "bearer", "bearer": _pairs({"token": "wrong"})}
        return [
            *({"name": name.capitalize(), "item": items} for name, items in resources.items()),
            {"name": "A wrong token", "item": [wrong]},
        ]

    def _items_of(self, operation: Operation) -> Iterator[Item]:
        for example in examples(self._document, operation):
            yield self._kept(example)
        first = self._first(operation)
        for slug in sorted(operation.slugs().get("404", ())):
            if operation.parameters("path") and slug.endswith("-not-found"):
                elsewhere = replace(first, path_values=self._nowhere(operation))
                yield self._refused(elsewhere, "404", slug)
        if operation.body():
            unknown = replace(first, body=UNKNOWN_FIELD)
            yield self._refused(unknown, "422", "invalid-request")

    def _first(self, operation: Operation) -> Example:
        return replace(
            next(examples(self._document, operation)), title=str(operation.said["summary"])
        )

    def _nowhere(self, operation: Operation) -> dict[str, Any]:
        return {
            parameter["name"]: parameter["schema"]["enum"][0]
            if "enum" in parameter["schema"]
            else NOWHERE[parameter["schema"]["type"]]
            for parameter in operation.parameters("path")
        }

    def _kept(self, example: Example) -> Item:
        """Build the request of an example, and what it is answered."""
        operation = example.operation
        values = {
            name: self._value(operation, name, value) for name, value in example.path_values.items()
        }
        statuses = operation.successes()
        script = [
            f'pm.test("answers {" or ".join(statuses)}", () =>',
            f"  pm.expect(pm.response.code).to.be.oneOf([{', '.join(statuses)}]));",
            *self._learning(operation),
        ]
        answer = operation.said["responses"][statuses[-1]]
        body = answer.get("content", {}).get(JSON)
        shown = sample(self._document, body["schema"]) if body else None
        return self._item(replace(example, path_values=values), script, statuses[-1], JSON, shown)

    def _refused(self, example: Example, status: str, slug: str) -> Item:
        """Build a request that is refused, and how."""
        script = [
            f'pm.test("answers {status} {slug}", () => {{',
            f"  pm.expect(pm.response.code).to.eql({status});",
            f'  pm.expect(pm.response.json().type).to.eql("urn:problem:{slug}");',
            "});",
        ]
        known = {
            name: self._value(example.operation, name, value)
            for name, value in example.path_values.items()
        }
        titled = replace(example, title=f"{example.title}: {slug}", path_values=known)
        content = example.operation.said["responses"][status]["content"][PROBLEM]
        return self._item(titled, script, status, PROBLEM, content["examples"][slug]["value"])

    def _value(self, operation: Operation, name: str, value: Any) -> Any:
        """Take a variable for what an earlier answer tells; it starts as the example."""
        if name not in self._linked.get(operation.id, set()) or value in NOWHERE.values():
            return value
        self.variables.setdefault(name, "" if value is None else value)
        return f"{{{{{name}}}}}"

    def _learning(self, operation: Operation) -> Iterator[str]:
        for status in operation.successes():
            for name, way in links(operation, status).items():
                steps = "".join(f"?.[{json.dumps(step)}]" for step in way)
                yield f"if (pm.response.code === {status}) {{"
                yield f"  const told = pm.response.json(){steps};"
                yield f'  if (told !== undefined) pm.collectionVariables.set("{name}", told);'
                yield "}"

    def _item(
        self, example: Example, script: list[str], status: str, kind: str, shown: Any
    ) -> Item:
        request = self._request(example)
        answer = {
            "name": f"{status} {example.title}",
            "originalRequest": request,
            "code": int(status),
            "status": "",
            "_postman_previewlanguage": "json" if shown is not None else "text",
            "header": _pairs({"Content-Type": kind}) if shown is not None else [],
            "body": "" if shown is None else json.dumps(shown, indent=2),
        }
        test = {"listen": "test", "script": {"type": "text/javascript", "exec": script}}
        return {"name": example.title, "request": request, "response": [answer], "event": [test]}

    def _request(self, example: Example) -> Item:
        operation = example.operation
        path = operation.path.format(**example.path_values)
        host = f"{{{{{self._name}_url}}}}"
        query = f"?{urlencode(example.query, doseq=True)}" if example.query else ""
        request: Item = {
            "method": operation.method.upper(),
            "description": operation.said.get("description", ""),
            "header": [],
            "url": {
                "raw": host + path + query,
                "host": [host],
                "path": path.strip("/").split("/"),
                "query": [
                    {"key": key, "value": str(one)}
                    for key, value in example.query.items()
                    for one in (value if isinstance(value, list) else [value])
                ],
            },
        }
        if not operation.is_guarded:
            request["auth"] = {"type": "noauth"}
        if example.body is not None:
            if operation.form():
                request["body"] = {"mode": "urlencoded", "urlencoded": _pairs(example.body)}
                return request
            if operation.csv():
                request["header"] = _pairs({"Content-Type": CSV})
                request["body"] = {"mode": "raw", "raw": example.body}
                return request
            request["header"] = _pairs({"Content-Type": JSON})
            raw = json.dumps(example.body, indent=2, ensure_ascii=False)
            language = {"raw": {"language": "json"}}
            request["body"] = {"mode": "raw", "raw": raw, "options": language}
        return request


def _bearer(variable: str) -> Item:
    return {"type": "bearer", "bearer": _pairs({"token": f"{{{{{variable}}}}}"})}


def _pairs(values: Mapping[str, str]) -> list[Item]:
    return [{"key": key, "value": value, "type": "string"} for key, value in values.items()]


def described(service: str) -> Document:
    """Have a service describe itself."""
    command = [sys.executable, "-m", service, "openapi"]
    answer = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    document: Document = json.loads(answer.stdout)
    return document


def written(made: Item) -> str:
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    COLLECTION.parent.mkdir(exist_ok=True)
    COLLECTION.write_text(
        written(collection({service: described(service) for service in SERVICES}))
    )
    print(f"Wrote {COLLECTION.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
