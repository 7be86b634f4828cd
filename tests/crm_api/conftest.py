from collections.abc import AsyncIterator

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import NewDatabase, running


@pytest.fixture
def settings(new_database: NewDatabase) -> Settings:
    return Settings(database_url=new_database("crm_api"), seed_demo_data=False)


@pytest.fixture
async def crm(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The CRM with an empty database, as an admin sees it."""
    async with running(create_app(settings), token="admin123") as client:
        yield client
