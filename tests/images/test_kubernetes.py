"""The manifests for Kubernetes, against the schemas of its API and what is asked of a pod."""

import json
import shutil
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service_kit import VERSION
from tests.conftest import ROOT
from tests.images.engine import run

FOLDER = ROOT / "deploy" / "kubernetes"
# The oldest and the newest that are asked for; `sleep` as a hook is stable since 1.34.
RELEASES = ["1.34", "1.37"]

KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = [
    found
    for name in KUSTOMIZATION["resources"]
    for found in yaml.safe_load_all((FOLDER / name).read_text())
]
DEPLOYMENTS = [one for one in OBJECTS if one["kind"] == "Deployment"]


def name_of(one: dict[str, Any]) -> str:
    return f"{one['kind']}-{one['metadata']['name']}"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("one", OBJECTS, ids=name_of)
def test_an_object_is_what_the_api_takes(one: dict[str, Any], release: str) -> None:
    kubernetes_validate.validate(one, release, strict=True)


def test_every_file_is_named_and_nothing_else_is_there() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


def test_the_images_are_those_for_arm64_of_this_version() -> None:
    assert {one["newTag"] for one in KUSTOMIZATION["images"]} == {f"{VERSION}-eks"}
    used = {
        c["image"] for one in DEPLOYMENTS for c in one["spec"]["template"]["spec"]["containers"]
    }
    assert used == {one["name"] for one in KUSTOMIZATION["images"]}
    for one in DEPLOYMENTS:
        assert one["spec"]["template"]["spec"]["nodeSelector"] == {"kubernetes.io/arch": "arm64"}


@pytest.mark.parametrize("one", DEPLOYMENTS, ids=name_of)
def test_a_pod_is_restricted_and_stops_in_time(one: dict[str, Any]) -> None:
    pod = one["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert pod["initContainers"][0]["command"][-1] == "migrate"
    [served] = pod["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(served)
    asleep = served["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert asleep + 20 < pod["terminationGracePeriodSeconds"]


def test_each_has_a_budget_and_the_apis_grow() -> None:
    by_kind = {
        kind: {o["metadata"]["name"] for o in OBJECTS if o["kind"] == kind} for kind in KINDS
    }
    services = {"crm-api", "inventory-api", "integration-service"}

    for kind in ("PodDisruptionBudget", "NetworkPolicy", "Service"):
        assert by_kind[kind] == services
    assert by_kind["HorizontalPodAutoscaler"] == services - {"integration-service"}


KINDS = ["PodDisruptionBudget", "NetworkPolicy", "Service", "HorizontalPodAutoscaler"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on this machine")
def test_kustomize_puts_it_together() -> None:
    told = list(yaml.safe_load_all(run("kubectl", "kustomize", FOLDER)))

    assert len(told) == len(OBJECTS)
    assert f"{VERSION}-eks" in json.dumps(told)
