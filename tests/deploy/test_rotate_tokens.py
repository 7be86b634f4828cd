"""Each step of a rotation leaves tokens that fit together; whole services try them in system/."""

import shutil
from pathlib import Path

import pytest

from deploy import make_secrets
from deploy.rotate_tokens import ACCEPTED, SHOWN, main

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_secrets.main([str(tmp_path)])
    return tmp_path


def accepted(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().split(",")


def links(folder: Path) -> dict[str, str]:
    """Return the tokens that services show to each other."""
    return {name: (folder / name).read_text() for name in SHOWN}


def step(name: str, folder: Path) -> None:
    assert main([name, str(folder)]) == 0
    for link, where in SHOWN.items():
        assert f"integration:{links(folder)[link]}" in accepted(folder, where)


def test_three_steps_replace_every_token_and_no_link_breaks(folder: Path) -> None:
    before = {name: accepted(folder, name) for name in ACCEPTED}
    shown = links(folder)

    step("add", folder)
    both = {name: accepted(folder, name) for name in ACCEPTED}
    assert links(folder) == shown
    step("switch", folder)
    assert not set(shown.values()) & set(links(folder).values())
    assert {name: accepted(folder, name) for name in ACCEPTED} == both
    step("drop", folder)

    for name in ACCEPTED:
        after = accepted(folder, name)
        assert both[name] == before[name] + after
        assert not set(before[name]) & set(after)
        roles = [entry.partition(":")[0] for entry in after]
        assert roles == [entry.partition(":")[0] for entry in before[name]]
        assert (folder / name).stat().st_mode & 0o777 == 0o444
    assert not list(folder.glob("*.old"))
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize(
    ("done", "wrong", "reason"),
    [
        ([], "switch", "begin with add"),
        ([], "drop", "begin with add"),
        (["add"], "add", "end it first"),
        (["add"], "drop", "switch first"),
        (["add", "switch", "drop"], "drop", "begin with add"),
    ],
)
def test_a_step_that_is_not_the_next_changes_nothing(
    folder: Path, done: list[str], wrong: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in done:
        step(name, folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}

    assert main([wrong, str(folder)]) == 1

    assert reason in capsys.readouterr().err
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_what_was_written_by_hand_stays(folder: Path) -> None:
    """A token whose text is elsewhere, and one that is added while a rotation is under way."""
    hashed, added = f"viewer:sha256:{'0' * 64}", "agent:a-new-colleague-of-32-characters--"
    path = folder / "crm_api_tokens"
    tokens = path.read_text()
    path.unlink()
    path.write_text(f"{tokens},{hashed}\n")
    step("add", folder)
    tokens = path.read_text()
    path.unlink()
    path.write_text(f"{added},{tokens}")

    step("switch", folder)
    step("drop", folder)

    assert {hashed, added} <= set(accepted(folder, "crm_api_tokens"))
    assert len(accepted(folder, "crm_api_tokens")) == len(tokens.split(",")) // 2 + 2


@pytest.mark.parametrize("step_that_dies", ["add", "switch", "drop"])
@pytest.mark.parametrize("after", range(5))
def test_a_step_that_was_interrupted_is_run_again(
    folder: Path, step_that_dies: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: accepted(folder, name) for name in ACCEPTED}
    replaced = 0

    def dies(path: Path, target: Path) -> Path:
        nonlocal replaced
        replaced += 1
        if replaced > after:
            raise OSError(28, "No space left on device", str(path))
        return Path(shutil.move(path, target))

    for name in ("add", "switch", "drop"):
        if name == step_that_dies:
            with monkeypatch.context() as patched:
                patched.setattr(Path, "replace", dies)
                ended = main([name, str(folder)])
            for link, where in SHOWN.items():
                assert f"integration:{links(folder)[link]}" in accepted(folder, where)
            if ended == 0:
                continue
        step(name, folder)

    for name in ACCEPTED:
        assert accepted(folder, name)
        assert not set(before[name]) & set(accepted(folder, name))


def test_no_token_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for name in ("add", "switch", "drop"):
        step(name, folder)
        told = capsys.readouterr()
        for tokens in ACCEPTED:
            for entry in accepted(folder, tokens):
                assert entry.partition(":")[2] not in told.out + told.err


def test_a_folder_without_secrets_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["add", str(tmp_path)]) == 1
    assert f"{tmp_path}/crm_api_tokens: No such file" in capsys.readouterr().err
