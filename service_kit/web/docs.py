"""The pages for people: the API to read and to try, without a byte from another host."""

from html import escape
from importlib.resources import files
from pathlib import Path as File

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from service_kit.web.auth import GuardedRoute, Public

router = APIRouter(route_class=GuardedRoute, include_in_schema=False, dependencies=[Public])

# What a page may do: load and ask this service alone. Both programs write styles as they go, and
# Redoc searches in a worker of its own making.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
_A_DAY = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}

_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png")
_START = "start.js"
PATHS = ("/docs", "/redoc", "/openapi.json", *(f"/docs/{name}" for name in (*_ASSETS, _START)))

# A file of its own, since the policy allows no script within a page. No validator: it would send
# the description's address to another host.
_START_SWAGGER = """\
SwaggerUIBundle({
  url: document.currentScript.dataset.openapi,
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{root}/docs/favicon.png">
{head}</head>
<body>
{body}</body>
</html>
"""
_SWAGGER_HEAD = '<link rel="stylesheet" href="{root}/docs/swagger-ui.css">\n'
_SWAGGER_BODY = """\
<div id="swagger-ui"></div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js" data-openapi="{root}/openapi.json"></script>
"""
_REDOC_BODY = """\
<redoc spec-url="{root}/openapi.json"></redoc>
<script src="{root}/docs/redoc.standalone.js"></script>
"""


@router.get("/openapi.json")
async def description(request: Request) -> Response:
    """Answer the API's description, which is written once."""
    return Response(request.app.state.description(), media_type="application/json")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the API to try: Swagger UI."""
    return _page(request, _SWAGGER_HEAD, _SWAGGER_BODY)


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """Show the API to read: Redoc."""
    return _page(request, "", _REDOC_BODY)


@router.get(f"/docs/{_START}")
async def start() -> Response:
    """Answer what starts Swagger UI."""
    return Response(_START_SWAGGER, headers=_A_DAY, media_type="text/javascript")


def _add(name: str) -> None:
    @router.get(f"/docs/{name}", name=name)
    async def asset() -> Response:
        folder = File(str(files("fastapi_offline").joinpath("static")))
        return FileResponse(folder / name, headers=_A_DAY)


for _name in _ASSETS:
    _add(_name)


def _page(request: Request, head: str, body: str) -> Response:
    """Fill in where this service is: below another path, when a proxy says so."""
    root = escape(request.scope.get("root_path", "").rstrip("/"))
    page = _PAGE.format(
        title=escape(request.app.title),
        root=root,
        head=head.format(root=root),
        body=body.format(root=root),
    )
    return HTMLResponse(page, headers=_HEADERS)
