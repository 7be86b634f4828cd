"""A migrated, empty database of each service, as an image in memory."""

import pytest

from tests.simulation.world import new_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return new_images(tmp_path_factory.mktemp("images"))
