"""Imports: a file of customers is checked, and imported in the background; what is refused."""

from typing import Any

import httpx
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from console.platform import Answer, Refused, Sent
from console.routing import get, post
from console.uploads import NoFile, read_upload
from console.visit import Visit
from service_kit.process import clock

_CSV = "text/csv"
_RECENT = 20


async def index(visit: Visit) -> Response:
    return await _page(visit)


async def start(visit: Visit) -> Response:
    """Pass a file on to the API, which checks and imports it; with `dry_run` it only checks."""
    dry_run = visit.query.get("dry_run") == "true"
    try:
        upload = await read_upload(visit.request)
    except NoFile:
        return await _page(visit, Refused(422, {"detail": "Choose a file first."}))
    welcome = "true" if upload.form["welcome"] else "false"
    address = f"/api/imports?dry_run={'true' if dry_run else 'false'}&welcome={welcome}"
    once = {"Idempotency_Key": upload.form["key"]} if upload.form["key"] else {}
    try:
        begun = await visit.crm.upload(address, upload.content, _CSV, **once)
    except Refused as problem:
        return await _page(visit, problem, welcome == "true")
    return visit.go(f"/imports/{begun.json['id']}")


async def show(visit: Visit) -> Response:
    """Show how far an import is, and the first rows that it has refused."""
    found = (await visit.crm.get(_address(visit))).json
    return visit.render("import.html", found=found, key=clock.new_id(), problem=None, welcome=True)


async def report(visit: Visit) -> Response:
    """Download the refused rows, to be corrected and sent again."""
    return _Download(await visit.crm.download(f"{_address(visit)}/report"))


class _Download(StreamingResponse):
    """Passes a file on as it comes."""

    def __init__(self, answer: httpx.Response) -> None:
        headers = {"Content-Disposition": answer.headers["content-disposition"]}
        super().__init__(answer.aiter_bytes(), headers=headers, media_type=_CSV)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


async def _page(visit: Visit, problem: Refused | None = None, welcome: bool = True) -> Response:
    found: dict[str, Any] = await visit.together(
        recent=visit.crm.get("/api/imports", sort="-id", limit=_RECENT)
    )
    recent = found["recent"]
    return visit.render(
        "imports.html",
        200 if problem is None else problem.status,
        problem=problem,
        welcome=welcome,
        key=clock.new_id(),
        runs=isinstance(recent, Answer) and any(one["state"] == "running" for one in recent.json),
        also=[Sent("POST", "crm", "/api/imports?dry_run=true", file="customers.csv")],
        **found,
    )


def _address(visit: Visit) -> str:
    number = visit.path("number")
    return f"/api/imports/{number if number.isascii() and number.isdecimal() else 0}"


routes = [
    get("/imports", index, "imports:run"),
    post("/imports", start, "imports:run"),
    get("/imports/{number}", show, "imports:run"),
    get("/imports/{number}/report", report, "imports:run"),
]
