"""Secrets by name: where they are looked for, and that none is ever shown."""

from pathlib import Path

import pytest

from integration_service.routes.file import parse_routes
from integration_service.webhook_secrets import SecretMissing, missing_secrets, secret_values
from tests.integration_service.routes.writing import TARGETS, WEBHOOK


def test_a_secret_is_a_variable_or_a_file_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "old_secret").write_text("from-a-file\n")
    (tmp_path / "NEW_SECRET").write_text("not-this")
    (tmp_path / "NEW_SECRET_2").write_text("nor-this")

    values = secret_values(["NEW_SECRET", "OLD_SECRET"], {"NEW_SECRET": " set "}, tmp_path)

    assert values == ("set", "from-a-file")


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    (tmp_path / "SHOP_SECRET").write_text("\n")

    with pytest.raises(SecretMissing) as error:
        secret_values(["SHOP_SECRET"], {"SHOP_SECRET": " "}, tmp_path)

    path = tmp_path / "SHOP_SECRET"
    assert str(error.value) == f"SHOP_SECRET is not set; set this variable, or write {path}"


def test_a_folder_that_is_not_there_holds_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match="SHOP_SECRET is not set"):
        secret_values(["SHOP_SECRET"], {}, tmp_path / "none")


def test_a_variable_that_was_probably_meant_is_named_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match="Did you mean SHOP_SECRET") as error:
        secret_values(["SHOP_SECRET"], {"SHOP_SECERT": "s3cr3t"}, tmp_path)

    assert "SHOP_SECERT has no effect" in str(error.value)
    assert "s3cr3t" not in str(error.value)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "LATIN").write_bytes(b"s3cr3t\xe4")

    with pytest.raises(SecretMissing, match="FOLDER can't be read: Is a directory"):
        secret_values(["FOLDER"], {}, tmp_path)
    with pytest.raises(SecretMissing, match="LATIN is no text") as error:
        secret_values(["LATIN"], {}, tmp_path)
    assert "s3cr3t" not in str(error.value)


def test_each_secret_that_is_missing_is_told_with_the_line_of_its_key(tmp_path: Path) -> None:
    two = WEBHOOK.replace('"WEB_SHOP_SECRET"', '["OLD_SECRET", "NEW_SECRET"]')
    file = parse_routes(WEBHOOK + two.replace("web-shop", "other"), TARGETS)

    told = missing_secrets(file, {"OLD_SECRET": "set"}, tmp_path)

    assert [str(one).partition(";")[0] for one in told] == [
        "routes.toml:6: route web-shop: secret: WEB_SHOP_SECRET is not set",
        "routes.toml:12: route other: secret: NEW_SECRET is not set",
    ]
