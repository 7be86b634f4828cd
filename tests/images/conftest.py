"""What the tests of the images share. They need a Docker engine, and a registry to push to."""

import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service_kit import VERSION
from tests.conftest import ROOT
from tests.images.engine import (
    HANDLERS,
    IMAGES,
    NAMESPACE,
    REGISTRY,
    attempt,
    bake,
    of_the_commit,
    run,
    until,
    write_as_root,
)
from tests.upgrades.code import ADDITIVE, NEXT, next_release

FIGURES = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    done = attempt("docker", "info")
    if done.returncode != 0:
        pytest.exit(f"The images' tests need a Docker engine: {done.stderr.strip()}", returncode=1)


@pytest.fixture(scope="session")
def registry() -> str:
    host, _, port = REGISTRY.partition(":")
    with socket.socket() as client:
        assert client.connect_ex((host, int(port))) == 0, f"there is no registry at {REGISTRY}"
    return REGISTRY


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> dict[str, str]:
    """Collect what was measured, by its name; the run's summary shows it."""
    return request.config.stash.setdefault(FIGURES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    measured = terminalreporter.config.stash.get(FIGURES, {})
    if measured:
        terminalreporter.section("measured")
        for name, value in measured.items():
            terminalreporter.write_line(f"{name:<58} {value}")


def new_clone(folder: Path) -> Path:
    """Make a repository of one commit with the files that git knows, or would add, here."""
    names = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    commit(folder, "init")
    return folder


def commit(folder: Path, *before: str) -> None:
    """Commit all there is, at a time that is the same in every clone."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    if before:
        run("git", *before, "--quiet", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    when = {f"GIT_{one}_DATE": "2026-01-01T00:00:00Z" for one in ("AUTHOR", "COMMITTER")}
    run("git", *who, "commit", "--quiet", "--message=All", cwd=folder, **when)


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="session")
def images(clone: Path) -> Path:
    """Have the three images in the engine, as they are published; where they were built."""
    bake(clone, **of_the_commit(clone))
    return clone


@pytest.fixture(scope="session")
def next_images(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the images of a next release in the engine, which has a migration more for each."""
    code = next_release(tmp_path_factory.mktemp("next"), ADDITIVE)
    names = []
    for service, image in IMAGES.items():
        names.append(f"{NAMESPACE}/{image}:{NEXT}")
        recipe = f"""
            FROM {NAMESPACE}/{image}:{VERSION}
            USER 0
            RUN rm -rf /opt/app/service_kit /opt/app/{service}
            COPY service_kit /opt/app/service_kit
            COPY {service} /opt/app/{service}
            USER 1000:1000
        """
        run("docker", "build", "--quiet", "--tag", names[-1], "--file", "-", code, stdin=recipe)
    yield
    # Whatever ran them is gone a while after the stack.
    until(lambda: attempt("docker", "image", "rm", "--force", *names).returncode == 0)


@pytest.fixture(scope="session")
def front_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Have nginx's image in the engine; a machine that reaches no registry makes a stand-in."""
    compose = (ROOT / "docker-compose.prod.yml").read_text()
    [name] = re.findall(r"\{FRONT_IMAGE:-(nginx:[^}]+)\}", compose)
    for command in (["image", "inspect"], ["pull", "--quiet"]):
        if attempt("docker", *command, name).returncode == 0:
            return name
    packages = "base-files,bash,nginx"  # Debian's, which only have to be unpacked
    tree = tmp_path_factory.mktemp("nginx") / "tree.tar"
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").split()
    [mirror, *_] = [site for site in sites if "security" not in site]
    run("mmdebstrap", "--variant=extract", f"--include={packages}", "trixie", tree, mirror)
    run("docker", "import", tree, name)
    return name


@contextmanager
def no_emulation() -> Iterator[None]:
    """Take the handlers for other machines out of the kernel, and put them back."""
    found = [path for path in HANDLERS.glob("qemu-*") if path.name.endswith(("aarch64", "x86_64"))]
    lines = {path: registration(path) for path in found}
    try:
        for path in found:
            write_as_root(path, "-1")
        yield
    finally:
        for path, line in lines.items():
            if not path.exists():
                write_as_root(HANDLERS / "register", line)


def registration(path: Path) -> str:
    """Give the line that registers a handler, from what the kernel tells of it."""
    told = dict(line.partition(" ")[::2] for line in path.read_text().splitlines())
    magic, mask = (_escaped(told[name]) for name in ("magic", "mask"))
    return ":".join(
        ["", path.name, "M", told["offset"], magic, mask, told["interpreter"], told["flags:"]]
    )


def _escaped(digits: str) -> str:
    return "".join(f"\\x{digits[at : at + 2]}" for at in range(0, len(digits), 2))
