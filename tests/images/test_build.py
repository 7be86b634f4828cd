"""What bake builds: for both architectures, on a host that can run one."""

import json
import re
import time
from pathlib import Path

import pytest

from service_kit import VERSION
from tests.images.conftest import new_clone, no_emulation
from tests.images.engine import (
    BAKE,
    CERTIFICATE,
    HANDLERS,
    NAMESPACE,
    ask,
    attempt,
    bake,
    of_the_commit,
    run,
    until,
)

PLAIN = "--set=*.attest=type=provenance,disabled=true"
PORTS = {"crmsys": 8000, "crmsys-inventory": 8001, "crmsys-integration": 8002}


@pytest.fixture(scope="module")
def digests(clone: Path, figures: dict[str, str]) -> dict[str, str]:
    """Build everything from nothing where no foreign program can run, without attestations."""
    with no_emulation():
        assert not list(HANDLERS.glob("qemu-aarch64"))
        begun = time.monotonic()
        found = bake(clone, "--no-cache", PLAIN, **of_the_commit(clone))
        figures["three images, two architectures, no cache"] = f"{time.monotonic() - begun:.1f} s"
    return found


def test_both_architectures_are_built_without_emulation(digests: dict[str, str]) -> None:
    assert len(set(digests.values())) == 3
    for repository in PORTS:
        index = run("docker", "image", "inspect", f"{NAMESPACE}/{repository}:{VERSION}")
        assert json.loads(index)[0]["Descriptor"]["mediaType"].endswith("index.v1+json")


def test_two_builds_of_a_commit_are_the_same(
    digests: dict[str, str], clone: Path, tmp_path: Path
) -> None:
    other = new_clone(tmp_path)
    for path in other.rglob("*"):
        if ".git" not in path.parts:
            path.chmod(0o700 if path.is_dir() else 0o600)  # as with another umask

    assert bake(other, "--no-cache", PLAIN, **of_the_commit(clone)) == digests


def test_a_change_of_code_makes_one_new_layer(
    images: Path, tmp_path: Path, figures: dict[str, str]
) -> None:
    changed = new_clone(tmp_path)
    for name in ("crm_api", "inventory_api", "integration_service"):
        (changed / name / "news.py").write_text("NEWS = 1\n")
    before = layers()
    begun = time.monotonic()
    bake(changed, PLAIN, **of_the_commit(images))
    figures["rebuild after a change of code, both architectures"] = (
        f"{time.monotonic() - begun:.1f} s"
    )
    after = layers()
    bake(images, **of_the_commit(images))

    assert len({ids[-2] for ids in before.values()}) == 1  # what the services share
    for image in before:
        assert [a == b for a, b in zip(before[image], after[image], strict=True)][:-1] == [True] * (
            len(before[image]) - 1
        )


def test_a_commit_without_changes_makes_no_new_layer(images: Path, figures: dict[str, str]) -> None:
    before = layers()
    begun = time.monotonic()
    bake(images, PLAIN, REVISION="0" * 40, COMMIT_TIME="1700000000")
    figures["rebuild of a commit without changes, both architectures"] = (
        f"{time.monotonic() - begun:.1f} s"
    )
    made = json.loads(run("docker", "image", "inspect", f"{NAMESPACE}/crmsys:{VERSION}"))
    after = layers()
    bake(images, **of_the_commit(images))

    assert after == before
    assert made[0]["Created"] == "2023-11-14T22:13:20Z"
    assert made[0]["Config"]["Labels"]["org.opencontainers.image.revision"] == "0" * 40


def test_what_all_services_need_is_one_layer(images: Path) -> None:
    shared, own, _, _ = zip(*(ids[-4:] for ids in layers().values()), strict=True)

    assert len(set(shared)) == 1
    assert len(set(own)) == len(PORTS)


def test_who_asks_for_a_load_gets_the_same_images_once(images: Path) -> None:
    commit = of_the_commit(images)

    assert bake(images, "--load", PLAIN, **commit) == bake(images, PLAIN, **commit)
    told = attempt(
        *(*BAKE, "--load", "--progress=plain", "local-crm-api"),
        cwd=images,
        NAMESPACE=NAMESPACE,
        **commit,
    )
    bake(images, **commit)  # of which the last one has made this machine's alone

    assert told.returncode == 0, told.stderr
    assert told.stderr.count("exporting to image") == 1


def test_the_recipe_is_checked_without_a_build(clone: Path, tmp_path: Path) -> None:
    told = run(*BAKE, "validate", cwd=clone)
    assert told.count("Check complete, no warnings found.") == 5

    planted = new_clone(tmp_path)
    recipe = planted / "Dockerfile"
    recipe.write_text(recipe.read_text().replace("FROM tools AS kit", "FROM tools as kit"))
    done = attempt(*BAKE, "validate", cwd=planted)
    assert done.returncode != 0
    assert "FromAsCasing" in done.stdout + done.stderr


def layers() -> dict[str, list[str]]:
    names = [f"{NAMESPACE}/{repository}:{VERSION}" for repository in PORTS]
    found = json.loads(run("docker", "image", "inspect", *names))
    # The CRM's last one is the console.
    return {
        name: one["RootFS"]["Layers"][: -1 if name.endswith(f"/crmsys:{VERSION}") else None]
        for name, one in zip(names, found, strict=True)
    }


@pytest.mark.timeout(400)
def test_the_other_architecture_runs_under_emulation(images: Path) -> None:
    if not (HANDLERS / "qemu-aarch64").exists():
        pytest.skip("no handler for arm64 on this machine")
    started = {
        image: run(
            # A health check takes its turn on the emulated processor too, and nobody reads it.
            *("docker", "run", "--detach", "--platform=linux/arm64", "--no-healthcheck"),
            *(f"--publish=127.0.0.1::{port}", f"{NAMESPACE}/{image}:{VERSION}"),
        ).strip()
        for image, port in PORTS.items()
    }
    try:
        for image, container in started.items():
            address = run("docker", "port", container, str(PORTS[image])).strip()
            health = until(lambda at=address: ask(f"http://{at}/health")[1], 300)
            machine = run("docker", "exec", container, "uname", "-m").strip()
            assert (health, machine) == ({"status": "ok"}, "aarch64")
    finally:
        run("docker", "rm", "--force", *started.values())


def test_a_wheel_for_another_machine_fails_the_build(clone: Path, tmp_path: Path) -> None:
    planted = new_clone(tmp_path)
    recipe = planted / "docker" / "install_locked.sh"
    text = recipe.read_text()
    recipe.write_text(text.replace('--python-platform "$machine-manylinux_2_28"', ""))
    assert recipe.read_text() != text

    secret = ["--secret", f"id=ca,src={CERTIFICATE}"] if CERTIFICATE else []
    done = attempt(
        *("docker", "build", "--platform=linux/arm64", "--target=crm_api", *secret, "."),
        cwd=planted,
    )

    assert done.returncode != 0
    assert re.search(r"verify_elf: .*\.so is for amd64, not for arm64", done.stderr)


@pytest.mark.parametrize("user", ["1000:1000", "1234567:0"])
@pytest.mark.parametrize("image", PORTS)
def test_a_platform_may_choose_the_user_and_only_group_0_reads_the_database(
    images: Path, image: str, user: str
) -> None:
    name = f"{NAMESPACE}/{image}:{VERSION}"
    service = "$(ls /opt/app | grep -v -e service_kit -e console)"
    make = f'python -m "{service}" migrate && stat -c "%a %g" /data/*.db'

    made = run("docker", "run", "--rm", f"--user={user}", name, "sh", "-c", make)

    assert made.splitlines()[-1] == "660 0"


@pytest.mark.parametrize("image", PORTS)
def test_nothing_to_build_or_test_with_is_in_an_image(images: Path, image: str) -> None:
    name = f"{NAMESPACE}/{image}:{VERSION}"
    look = """
import importlib.util, os, pathlib, shutil
programs = ("uv", "pytest", "curl", "wget", "gcc", "cc", "make", "git", "ruff", "mypy")
print([p for p in programs if shutil.which(p, path="/opt/venv/bin:/usr/local/bin:/usr/bin:/bin")])
print([m for m in ("uv", "pytest", "hypothesis", "tests") if importlib.util.find_spec(m)])
print([str(p) for p in pathlib.Path("/opt").rglob("*") if os.access(p, os.W_OK)])
print(sorted(p.name for p in pathlib.Path("/opt/app").iterdir()))
"""
    found = run("docker", "run", "--rm", name, "python", "-c", look).splitlines()

    assert found[:3] == ["[]", "[]", "[]"]
    console = ["console"] if image == "crmsys" else []
    services = ("crm_api", "inventory_api", "integration_service")
    service = [one for one in services if one in found[3]]
    assert json.loads(found[3].replace("'", '"')) == sorted([*console, *service, "service_kit"])
    assert len(service) == 1


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"DEPLOY": "eks", "ARCH": "amd64"}, "lambda and eks run arm64, apprunner runs amd64"),
        ({"DEPLOY": "lambda", "ARCH": "amd64"}, "lambda and eks run arm64, apprunner runs amd64"),
        ({"DEPLOY": "apprunner", "ARCH": "arm64"}, "would end there with exec format error"),
        ({"DEPLOY": "heroku"}, "DEPLOY is lambda, eks or apprunner."),
        ({"ARCH": "riscv64"}, "ARCH is amd64 or arm64"),
        ({"VERSION": "1.2"}, "VERSION has three numbers"),
        ({"NAMESPACE": "Bad Name"}, "NAMESPACE is the account in the registry"),
        ({"STAGE": "test"}, "STAGE is dev or prod."),
    ],
    ids=str,
)
def test_a_wrong_wish_is_refused_before_the_build(
    clone: Path, variables: dict[str, str], sentence: str
) -> None:
    done = attempt(*BAKE, "--print", "deploy", cwd=clone, **variables)

    assert done.returncode != 0
    assert sentence in done.stderr


def test_what_went_round_that_is_refused_in_the_build(clone: Path) -> None:
    done = attempt(*BAKE, "--set=*.platform=linux/amd64", "eks-crm-api", cwd=clone)

    assert done.returncode != 0
    assert "This image is for a place that runs arm64; on amd64 it would end" in done.stderr


def test_a_foreign_image_is_not_started_without_emulation(clone: Path) -> None:
    with no_emulation():
        done = attempt("make", "docker-run", "ARCH=arm64", cwd=clone)

    assert done.returncode != 0
    assert "has no emulation for arm64" in done.stderr
    assert "tonistiigi/binfmt --install arm64" in done.stderr


def test_the_recipe_has_no_run_in_what_is_published(clone: Path) -> None:
    stage, published = "", {"runtime", "crm_api", "inventory_api", "integration_service", "lambda"}
    for line in (clone / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            stage = line.split()[-1]
        assert not (stage in published and line.startswith("RUN ")), line


def test_a_build_by_hand_says_its_commit(images: Path) -> None:
    found = json.loads(run("docker", "image", "inspect", f"{NAMESPACE}/crmsys:{VERSION}"))
    labels = found[0]["Config"]["Labels"]

    assert labels["org.opencontainers.image.revision"] == of_the_commit(images)["REVISION"]
    assert labels["org.opencontainers.image.version"] == VERSION
