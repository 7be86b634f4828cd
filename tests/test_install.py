"""What `make` installs, and how: exactly what is locked, whatever has come out since."""

import ast
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.conftest import ROOT
from tools import install

pytestmark = pytest.mark.slow

# Whatever of the project installs packages, or says how to.
FILES = [
    *(ROOT / name for name in ("Makefile", "Dockerfile", "docker-bake.hcl", ".env.example")),
    *(ROOT.glob("*.md")),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / ".ci").glob("*"),
    *(ROOT / ".github").rglob("*.yml"),
    *(ROOT / "docker").glob("*.py"),
]
# A command goes on in the next line after a backslash.
COMMAND = re.compile(r"\bpip install\b(?:[^\n]*\\\n)*[^\n]*")
SOURCE = (ROOT / "tools" / "install.py").read_text()
OLD = """
import sys
sys.version_info = (3, 10, 13, "final", 0)
sys.argv = ["install.py", "crm_api"]
import runpy
runpy.run_path({path!r}, run_name="__main__")
"""


def test_no_command_resolves_what_it_installs() -> None:
    commands = [(file, found) for file in FILES for found in COMMAND.findall(file.read_text())]

    # What somebody else's receiver of webhooks needs is none of ours.
    ours = [found for file, found in commands if file.name != "routes.md"]
    assert {file.name for file, _ in commands} == {"Dockerfile", "Makefile", "routes.md"}
    assert [found for found in ours if "--no-deps" not in found] == []
    assert '"install", "--require-hashes", "--no-deps"' in SOURCE


def test_any_python_since_37_can_read_what_installs() -> None:
    ast.parse(SOURCE, feature_version=(3, 7))


def test_an_old_python_is_refused_in_words(clone: Path) -> None:
    script = OLD.format(path=str(clone / "tools" / "install.py"))
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(
        r"crmsys needs Python 3\.11 or later, and python3 is Python \S+ Name another: "
        r"make run PYTHON=python3\.\d+\n",
        ended.stderr,
    )
    assert not (clone / ".venv").exists()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a folder with what installs, a lock, and a release that is newer than the lock."""
    for name in ("requirements", "tools", "releases"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "tools" / "install.py", tmp_path / "tools")
    shutil.copy(ROOT / "Makefile", tmp_path)
    pins = [
        release(tmp_path / "releases", "leaf", "1.0", "Provides-Extra: more"),
        release(tmp_path / "releases", "tree", "1.0", "Requires-Dist: leaf[more]>=1.0"),
    ]
    release(tmp_path / "releases", "leaf", "1.1", "Provides-Extra: more")
    (tmp_path / "requirements" / "crm_api.txt").write_text("".join(pins))
    return tmp_path


def release(folder: Path, name: str, version: str, metadata: str) -> str:
    """Make a wheel, and return the line that locks it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", metadata, ""]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = [f"{path},sha256={digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*records, f"{info}/RECORD,,", ""])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def digest(text: str) -> str:
    made = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_pip_that_python_brings_installs_the_lock_beside_a_newer_release(clone: Path) -> None:
    pytest.importorskip("ensurepip")

    first = installed(clone)

    assert "Making .venv with Python" in first
    assert "Fetching packages: " in first
    assert "Installed the locked packages in " in first
    assert versions(clone) == {"leaf": "1.0", "tree": "1.0"}
    assert installed(clone) == ""  # nothing to do


@pytest.mark.parametrize(
    ("recorded", "is_outdated"),
    [
        ([], True),
        (["python3"], True),
        (["python3", "cpython-310 of /usr"], True),
        (["python3", "cpython-311 of /usr"], False),
        (["python3.11", "cpython-311 of /usr", "crm_api 1"], False),
        (["python3", "cpython-311 of /opt", "crm_api 1"], True),
        (["python3", "cpython-311 of /usr", "crm_api 0"], True),
        (["python3", "cpython-311 of /usr", "crm_api 1", "gone 1"], True),
    ],
)
def test_an_environment_of_another_python_or_lock_is_made_anew(
    recorded: list[str], is_outdated: bool
) -> None:
    wanted = ["crm_api 1", "dev 1"]

    assert install.is_outdated(recorded, "cpython-311 of /usr", wanted) == is_outdated


def installed(clone: Path) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(clone / "releases"),
        "PIP_CONFIG_FILE": os.devnull,
    }
    ended = subprocess.run(
        [sys.executable, "tools/install.py", "crm_api"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def versions(clone: Path) -> dict[str, str]:
    packages = next((clone / ".venv" / "lib").iterdir()) / "site-packages"
    found = (folder.stem.split("-") for folder in packages.glob("*.dist-info"))
    return {name: version for name, version in found if name in {"leaf", "tree"}}
