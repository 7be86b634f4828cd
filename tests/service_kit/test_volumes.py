"""A container that keeps its database to itself says so."""

from pathlib import Path

import pytest

from service_kit.process.volumes import warning_of

ROOT_ALONE = "535 423 0:62 / / rw,relatime - overlay overlay rw\n"
VOLUME = "571 535 254:0 /docker/volumes/crm/_data /data rw,relatime - ext4 /dev/vda rw\n"
IMAGE = {"DATA_FOLDER": "/data"}
URL = "sqlite:////data/crm.db"


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(ROOT_ALONE)
    return path


def test_without_a_volume_it_says_what_goes_and_what_to_do(mounts: Path) -> None:
    told = warning_of(URL, IMAGE, mounts)

    assert told is not None
    assert told.startswith("No volume: the database /data/crm.db goes when this container is")
    assert "docker run -v crmsys:/data" in told


def test_with_a_volume_it_says_nothing(mounts: Path) -> None:
    mounts.write_text(ROOT_ALONE + VOLUME)

    assert warning_of(URL, IMAGE, mounts) is None
    assert warning_of("sqlite:////data/below/crm.db", IMAGE, mounts) is None
    assert warning_of("sqlite:////elsewhere/crm.db", IMAGE, mounts) is not None


@pytest.mark.parametrize(
    ("url", "environ"),
    [(URL, {}), ("postgresql://crm:x@postgres/crm", IMAGE)],
    ids=["no image", "a server"],
)
def test_elsewhere_nothing_is_said(url: str, environ: dict[str, str], mounts: Path) -> None:
    assert warning_of(url, environ, mounts) is None


def test_where_nobody_can_tell_nothing_is_said(tmp_path: Path) -> None:
    assert warning_of(URL, IMAGE, tmp_path / "none") is None
