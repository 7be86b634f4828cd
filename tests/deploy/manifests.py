"""The manifests for Kubernetes: as files, and as kustomize puts an overlay together."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
OVERLAYS = ("generic", "eks")
SERVICES = {
    "crm-api": "crm_api",
    "inventory-api": "inventory_api",
    "integration-service": "integration_service",
}

Object = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="no kubectl on this machine"
)


@functools.cache
def rendered(overlay: str) -> list[Object]:
    """Put an overlay together, as `kubectl apply -k` does before it sends it."""
    told = subprocess.run(
        ["kubectl", "kustomize", FOLDER / "overlays" / overlay],  # noqa: S607 (wherever it is)
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return list(yaml.safe_load_all(told))


@functools.cache
def base() -> list[Object]:
    """Read the objects of the base's files, without what kustomize adds."""
    return [
        found
        for path in sorted(BASE.rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for found in yaml.safe_load_all(path.read_text())
    ]


def kustomization(folder: Path) -> Object:
    read: Object = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return read


def of_kind(kind: str, objects: list[Object]) -> dict[str, Object]:
    """Find the objects of a kind, by their names."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def pod_of(one: Object) -> Object:
    found: Object = one["spec"]["template"]["spec"]
    return found


def settings() -> dict[str, str]:
    """Read what the base gives to the pods of all services."""
    [generated] = kustomization(BASE)["configMapGenerator"]
    return dict(one.split("=", 1) for one in generated["literals"])
