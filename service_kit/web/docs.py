"""The pages for people: the API to read and to try, without a byte from another host."""

import asyncio
from html import escape
from importlib.resources import files
from pathlib import Path as File

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from service_kit.web.auth import GuardedRoute, Public
from service_kit.web.shared import SharedResponse

router = APIRouter(route_class=GuardedRoute, include_in_schema=False, dependencies=[Public])

# What a page may do: load and ask this service alone. Both programs write styles as they go, and
# Redoc searches in a worker of its own making.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY}
_A_DAY = {"Cache-Control": "public, max-age=86400"}

_PAGES = File(__file__).with_name("pages")
_START = "start.js"
_ASSETS = (
    _START,
    "swagger-ui-bundle.js",
    "swagger-ui.css",
    "redoc.standalone.js",
    "favicon.png",
)
PATHS = ("/docs", "/redoc", "/openapi.json", *(f"/docs/{name}" for name in _ASSETS))


@router.get("/openapi.json")
async def description(request: Request) -> Response:
    """Answer the API's description, which is written once, in a thread: it takes a while."""
    state = request.app.state
    if state.description_task is None:
        state.description_task = asyncio.ensure_future(asyncio.to_thread(state.description))
    text = await asyncio.shield(state.description_task)
    return SharedResponse(text, media_type="application/json")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the API to try: Swagger UI."""
    return _page(request, "docs.html")


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """Show the API to read: Redoc."""
    return _page(request, "redoc.html")


def _add(name: str) -> None:
    @router.get(f"/docs/{name}", name=name)
    async def asset() -> Response:
        offline = File(str(files("fastapi_offline").joinpath("static")))
        folder = _PAGES if name == _START else offline
        return FileResponse(folder / name, headers=_A_DAY)


for _name in _ASSETS:
    _add(_name)


def _page(request: Request, name: str) -> Response:
    """Fill in where this service is: below another path, when a proxy says so."""
    root = escape(request.scope.get("root_path", "").rstrip("/"))
    page = (_PAGES / name).read_text().format(title=escape(request.app.title), root=root)
    return HTMLResponse(page, headers=_HEADERS)
