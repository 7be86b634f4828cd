"""A name, subject or note of invisible characters alone is none, whichever way it comes in."""

import httpx
import pytest

NOTHING = "\u200b"
PLAIN = {"name": "Jane Doe", "email": "jane@example.com"}


@pytest.mark.parametrize("text", [NOTHING, "\u200d\u2060", "\u3164"])
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/customers", PLAIN, "name"),
        ("/api/customers", PLAIN, "company"),
        ("/api/tickets", {"customer_id": 1, "subject": "A", "description": "B"}, "subject"),
        ("/api/tickets", {"customer_id": 1, "subject": "A", "description": "B"}, "assignee"),
        ("/api/tickets/1/notes", {"body": "A"}, "body"),
        ("/api/tokens", {"name": "shop", "role": "agent"}, "name"),
    ],
)
async def test_it_is_refused(
    shared_crm: httpx.AsyncClient, path: str, body: dict[str, object], field: str, text: str
) -> None:
    answer = await shared_crm.post(path, json={**body, field: text})

    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["body", field]]
    assert "visible" in answer.json()["errors"][0]["msg"]
