"""What handlers ask for: the database of the app that they run in."""

from typing import Annotated

from fastapi import Depends, Request

from service_kit.database import Database


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _database(request: Request) -> Database:
    return database_of(request)  # a dependency that is not async would be given a thread


DatabaseDep = Annotated[Database, Depends(_database)]
