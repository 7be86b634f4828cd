"""What stands at `/`: a browser is sent to the pages for people, others get links."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from service_kit import VERSION
from service_kit.web.auth import GuardedRoute, Public

router = APIRouter(route_class=GuardedRoute, include_in_schema=False, dependencies=[Public])
_VARY = {"Vary": "Accept"}


@router.get("/")
async def home(request: Request) -> Response:
    """Send a browser to the service's pages; tell others where things are."""
    state, root = request.app.state, request.scope.get("root_path", "").rstrip("/")
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(root + state.pages, 302, _VARY)
    pages = {"docs": "/docs", "redoc": "/redoc", "openapi": "/openapi.json"}
    rest = {"health": "/health", "ready": "/health/ready", "metrics": "/metrics", "me": "/me"}
    links = {state.pages.strip("/"): state.pages, **pages, **rest}
    named = {name: root + path for name, path in links.items()}
    return JSONResponse({"service": state.name, "version": VERSION, **named}, headers=_VARY)
