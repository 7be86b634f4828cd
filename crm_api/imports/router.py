"""The imports' routes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path as Folder
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from crm_api import import_reports
from crm_api.access import CanRunImports
from crm_api.imports import service
from crm_api.imports.models import Import
from crm_api.imports.runner import Imports, Job
from crm_api.imports.schemas import ImportDetail, ImportOut
from crm_api.imports.upload import (
    CSV,
    FileTooLarge,
    NoRoomForFile,
    Upload,
    UploadBroken,
    UploadRoute,
    receive,
)
from crm_api.settings import Settings
from crm_api.tables import audit
from crm_api.transfer.table import header_line
from service_kit.database import Database
from service_kit.database.sqlite.connect import file_of
from service_kit.web.audit import audit_read
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.idempotency import Answer, KeyHeader, key_of_call
from service_kit.web.openapi import LOCATION, answering, documented, header
from service_kit.web.overload import slot_of
from service_kit.web.paging import PagingDep, Sort

router = APIRouter(prefix="/api/imports", route_class=GuardedRoute, tags=["imports"])
upload_router = APIRouter(prefix="/api/imports", route_class=UploadRoute, tags=["imports"])

# To read through a file of 50 MiB takes a few; the ten of any other request may be too short.
CHECK_SECONDS = 60.0
_EXAMPLE = "name,email,external_ref\nKatherine Johnson,katherine@example.com,import-1\n"
_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            CSV: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "maxLength": 50 * 1024 * 1024,
                    "description": "A header line, then a customer on each row, in UTF-8. Columns: "
                    "`name`, `email`, `company`, `phone`, `external_ref`, `metadata.<key>`, "
                    "`address.line_1` to `address.line_4`, `address.city` and so on.",
                },
                "examples": {"one-customer": {"summary": "Import a file", "value": _EXAMPLE}},
            }
        },
    }
}
_DISPOSITION = {
    "Content-Disposition": header(
        "A name to save it by.", 'attachment; filename="import-1-refused.csv"'
    )
}


class _Report(StreamingResponse):
    media_type = CSV


async def _imports(request: Request) -> Imports:
    found: Imports = request.app.state.imports
    return found


ImportsDep = Annotated[Imports, Depends(_imports)]
ImportId = Annotated[int, Path(ge=1, lt=2**63, description="The import's id.", examples=[1])]
DryRun = Annotated[bool, Query(description="Write nothing, and tell what would happen.")]
Welcome = Annotated[bool, Query(description="Whether new customers get a welcome package.")]


@upload_router.post(
    "",
    status_code=202,
    summary="Import a file of customers",
    response_model=ImportDetail,
    responses=documented(
        UploadBroken,
        service.ImportRunning,
        FileTooLarge,
        service.TooManyImports,
        NoRoomForFile,
    )
    | answering(202, LOCATION),
    openapi_extra=_FILE,
)
async def start_import(
    request: Request,
    database: DatabaseDep,
    imports: ImportsDep,
    who: CanRunImports,
    idempotency_key: KeyHeader = None,
    dry_run: DryRun = False,
    welcome: Welcome = True,
) -> Response:
    """Send a CSV file of customers, up to 50 MiB; it is imported in the background.

    A row with an `external_ref` updates the customer that has it, in the columns of the file; one
    without is matched by e-mail address, and a customer that is there already stays as it is. So
    the same file may be sent again at any time, also after an import that was interrupted. Rows
    that share a reference or an address are all refused. A file that is no table is refused as a
    whole, with 422. A caller has one import at a time. Ask for the import at `Location`.
    """
    if idempotency_key is None:
        await database.read(service.refuse_second, who)
    settings: Settings = request.app.state.settings
    with imports.upload(who):
        upload = await receive(request, _folder(settings), settings.import_max_bytes)
        try:
            slot_of(request).allow(CHECK_SECONDS)
            names, rows = await imports.check(upload)
            new = service.NewImport(upload.bytes, names, rows, dry_run, welcome)
            call = key_of_call(request, idempotency_key, _print_of(upload, new))
            outcome = await call.outcome(service.begin, _accepted, new, who)
        except BaseException:
            upload.file.close()
            raise
        if outcome.result is None:  # it has begun before, with this key
            upload.file.close()
        else:
            imports.start(database, Job(outcome.result, upload, who))
    return outcome.answer.response()


@router.get("", summary="List imports", response_model=list[ImportOut])
async def list_imports(
    database: DatabaseDep, _: CanRunImports, paging: PagingDep, sort: Sort = "id"
) -> list[Import]:
    """List every import that was sent over HTTP, newest last."""
    after, ascending = paging.after(sort), sort == "id"
    page = await database.read(service.page, after, paging.limit, ascending=ascending)
    return paging.rows(page, sort)


@router.get(
    "/{import_id}",
    summary="Look up an import",
    response_model=ImportDetail,
    responses=documented(service.ImportNotFound),
)
async def get_import(import_id: ImportId, database: DatabaseDep, _: CanRunImports) -> Import:
    """Look up how far an import is, and the first rows that it has refused."""
    return await database.read(service.get, import_id)


@router.get(
    "/{import_id}/report",
    summary="Download the rows that an import has refused",
    response_class=_Report,
    responses=documented(service.ImportNotFound, service.ReportGone)
    | {200: {"description": "The refused rows.", **answering(200, _DISPOSITION)[200]}},
)
async def get_import_report(
    request: Request, import_id: ImportId, database: DatabaseDep, _: CanRunImports
) -> Response:
    """Download the refused rows as they were sent, each with its line and the reason.

    Correct them there and send that file: the columns `line` and `reason` are ignored. Of an import
    that still runs it has what was refused so far. It is kept for seven days at most, and erased
    with any customer that is erased, since nobody can tell for sure whom a refused row is about.
    """
    found = await database.read(service.get_with_report, import_id)
    await audit_read(request, audit, "import.read", f"import:{import_id}")
    name = f'attachment; filename="import-{import_id}-refused.csv"'
    return _Report(_parts(database, found), headers={"Content-Disposition": name})


async def _parts(database: Database, found: Import) -> AsyncIterator[str]:
    """Read a report part by part. Raises ReportGone where the next one was erased meanwhile."""
    yield header_line(found.header)
    last = 0
    while (part := await database.read(import_reports.next_part, found.id, last)) is not None:
        last, rows = part
        if rows is None:
            raise service.ReportGone("A customer was erased meanwhile, and with it the report.")
        yield rows
        await asyncio.sleep(0)  # others have their turn: neither SQLite nor a fast caller waits


def _accepted(begun: Import) -> Answer:
    body = ImportDetail.model_validate(begun).model_dump_json()
    return Answer(202, body, {"Location": f"/api/imports/{begun.id}"})


def _print_of(upload: Upload, new: service.NewImport) -> bytes:
    """Return what must be the same for the same Idempotency-Key: the file, and what to do."""
    return f"{upload.digest} {new.dry_run} {new.welcome}".encode()


def _folder(settings: Settings) -> Folder | None:
    """Return where files are kept meanwhile: beside a SQLite database, else with all such files."""
    url = settings.database_url
    return file_of(url).parent if url.startswith("sqlite:") else None
