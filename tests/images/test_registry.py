"""What is in the registry after a push, read by the registry's own protocol."""

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from service_kit import VERSION
from tests.images.conftest import new_clone
from tests.images.engine import (
    NAMESPACE,
    REGISTRY,
    ask,
    attempt,
    bake,
    manifest,
    of_the_commit,
)

IMAGES = ["crmsys", "crmsys-inventory", "crmsys-integration"]
BASE_LAYERS = 1
# What the services share, and the service: the layers that a change of our code makes anew.
CODE_LAYERS = 2
LIMIT_COMPRESSED = 28_000_000  # 5 of them verify the tokens of an OpenID provider
LIMIT_WITH_WEBHOOKS = 29_000_000  # 2 of them send webhooks
# Of all three images on one host, which have the packages that all need in common.
LIMIT_COMPRESSED_STACK = 30_000_000
LIMIT_CODE_LAYER = 140_000
# The CRM's own last one: the console.
LIMIT_CONSOLE_LAYER = 150_000

pytestmark = pytest.mark.usefixtures("registry")


def make(verb: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = [f"REGISTRY={REGISTRY}", f"NAMESPACE={NAMESPACE}"]
    return attempt("make", verb, *where, *arguments, cwd=root, seconds=500)


@pytest.fixture(scope="module", params=["dev", "prod"])
def pushed(request: pytest.FixtureRequest, clone: Path) -> tuple[str, str]:
    """Push a stage. Give its version's tag and its other one."""
    done = make(f"docker-push-{request.param}", clone)
    assert done.returncode == 0, done.stderr[-3000:]
    return (f"{VERSION}-dev", "dev") if request.param == "dev" else (VERSION, "latest")


def test_each_image_is_an_index_with_an_alias_for_each_architecture(pushed, figures) -> None:
    for image in IMAGES:
        repository = f"{NAMESPACE}/{image}"
        index = manifest(repository, pushed[0])
        found = {
            one["platform"]["architecture"]: one["digest"]
            for one in index["manifests"]
            if one["platform"]["os"] == "linux"
        }
        assert sorted(found) == ["amd64", "arm64"]
        assert manifest(repository, pushed[1]) == index
        for architecture, digest in found.items():
            one = manifest(repository, f"{pushed[0]}-{architecture}")
            assert one == manifest(repository, digest)
            size = sum(layer["size"] for layer in one["layers"][BASE_LAYERS:])
            figures[f"{image}, {architecture}, compressed, without the base"] = (
                f"{size / 1e6:.1f} MB"
            )
            sends_webhooks = image == "crmsys-integration"
            assert size <= (LIMIT_WITH_WEBHOOKS if sends_webhooks else LIMIT_COMPRESSED)
            sizes = [layer["size"] for layer in one["layers"]]
            if image == "crmsys":
                assert sizes.pop() <= LIMIT_CONSOLE_LAYER
            kit, service = sizes[-CODE_LAYERS:]
            figures[f"{image}, {architecture}, code, compressed"] = (
                f"{kit / 1e3:.0f} kB shared, {service / 1e3:.0f} kB of its own"
            )
            assert max(kit, service) <= LIMIT_CODE_LAYER


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_a_host_pulls_once_what_the_three_images_share(pushed, figures, architecture) -> None:
    found = [manifest(f"{NAMESPACE}/{image}", f"{pushed[0]}-{architecture}") for image in IMAGES]
    layers = {one["digest"]: one["size"] for image in found for one in image["layers"]}
    for base in found[0]["layers"][:BASE_LAYERS]:
        del layers[base["digest"]]

    size = sum(layers.values())
    figures[f"all three, {architecture}, compressed, without the base"] = f"{size / 1e6:.1f} MB"
    assert size <= LIMIT_COMPRESSED_STACK


def test_a_published_image_brings_the_record_of_its_build(pushed) -> None:
    index = manifest(f"{NAMESPACE}/crmsys", pushed[0])
    kinds = [
        one.get("annotations", {}).get("vnd.docker.reference.type") for one in index["manifests"]
    ]

    assert kinds.count("attestation-manifest") == 2


@pytest.mark.parametrize(("place", "architecture"), [("lambda", "arm64"), ("apprunner", "amd64")])
def test_what_is_for_one_place_is_a_plain_manifest(clone, place, architecture) -> None:
    done = make("docker-push-deploy", clone, f"DEPLOY={place}")

    assert done.returncode == 0, done.stderr[-3000:]
    found = manifest(f"{NAMESPACE}/crmsys", f"{VERSION}-{place}")
    assert found["mediaType"].endswith("manifest.v1+json")
    blob = f"http://{REGISTRY}/v2/{NAMESPACE}/crmsys/blobs/{found['config']['digest']}"
    assert ask(blob)[1]["architecture"] == architecture


def test_a_push_to_a_place_of_the_other_architecture_is_refused(clone) -> None:
    done = make("docker-push-deploy", clone, "DEPLOY=eks", "ARCH=amd64")

    assert done.returncode != 0
    assert "lambda and eks run arm64" in done.stderr


def test_a_push_without_a_place_is_refused(clone) -> None:
    assert "Say where it is to run" in make("docker-push-deploy", clone).stderr


def test_only_a_commit_is_published(tmp_path: Path) -> None:
    dirty = new_clone(tmp_path)
    (dirty / "crm_api" / "more.py").touch()

    done = make("docker-push-prod", dirty)

    assert done.returncode != 0
    assert "There are 1 changes that no commit has." in done.stderr


@pytest.fixture(scope="module")
def publish(clone: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("publish", clone / "docker" / "publish.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_wrong_image_under_the_right_name_is_found_after_the_push(clone, publish) -> None:
    where = {"REGISTRY": REGISTRY, "ARCH": "amd64", "VERSION": "0.0.1", "TO": "registry"}
    built = bake(clone, "--push", "image-crm-api", **of_the_commit(clone), **where)
    name, digest = f"{REGISTRY}/{NAMESPACE}/crmsys", built["image-crm-api"]

    with pytest.raises(publish.Refused, match=r"not amd64, arm64|no index of two"):
        publish.check_index(f"{name}:0.0.1-amd64@{digest}")
    with pytest.raises(publish.Refused, match="single image only"):
        publish.check_plain(f"{name}:{VERSION}", "amd64")
    with pytest.raises(publish.Refused, match="is for amd64, not for arm64"):
        publish.check_plain(f"{name}:{VERSION}-amd64", "arm64")
