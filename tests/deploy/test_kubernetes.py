"""The manifests for Kubernetes: what is asked of a pod, and the connections that all pods hold."""

import re
from typing import Any

import pytest

from deploy import make_secrets
from service_kit import VERSION
from tests.conftest import ROOT
from tests.deploy.manifests import (
    BASE,
    FOLDER,
    OVERLAYS,
    SERVICES,
    base,
    kustomization,
    needs_kubectl,
    of_kind,
    pod_of,
    rendered,
    settings,
)

DEPLOYMENTS = of_kind("Deployment", base())
JOBS = of_kind("Job", base())
PODS = {**DEPLOYMENTS, **JOBS}
# What a PostgreSQL lets in by default: max_connections less superuser_reserved_connections.
LETS_IN = 100 - 3
# A migration's connection, and the one that watches it. A process that serves holds its pool, see
# tests/service_kit/test_connections.py.
OF_A_MIGRATION = 2
# For people and for backups.
LEFT = 10


def test_every_file_is_named_and_nothing_else_is_there() -> None:
    for folder in (BASE, BASE / "migrations", *(FOLDER / "overlays" / one for one in OVERLAYS)):
        named = {name for name in kustomization(folder)["resources"] if name != "../../base"}
        assert {path.name for path in folder.iterdir()} == {*named, "kustomization.yaml"}
    assert {path.name for path in FOLDER.iterdir()} == {"base", "overlays"}
    assert {path.name for path in (FOLDER / "overlays").iterdir()} == set(OVERLAYS)


def test_the_base_asks_for_what_a_release_pushes_and_for_no_kind_of_node() -> None:
    images = kustomization(BASE)["images"]
    used = {container["image"] for one in PODS.values() for container in pod_of(one)["containers"]}

    assert {one["newTag"] for one in images} == {VERSION}
    assert used == {one["name"] for one in images}
    assert "make docker-push-prod" in (ROOT / ".github/workflows/release.yml").read_text()
    for one in PODS.values():
        assert not {"nodeSelector", "affinity", "tolerations"} & set(pod_of(one))


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_restricted(name: str) -> None:
    pod = pod_of(PODS[name])

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_pod_has_time_to_migrate_and_stops_in_time(name: str) -> None:
    deployment, pod = DEPLOYMENTS[name]["spec"], pod_of(DEPLOYMENTS[name])
    [served] = pod["containers"]
    startup = served["startupProbe"]
    patience = startup["failureThreshold"] * startup["periodSeconds"]

    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(served)
    assert patience >= 900
    assert deployment["progressDeadlineSeconds"] > patience + deployment["minReadySeconds"]
    asleep = served["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert asleep + 20 < pod["terminationGracePeriodSeconds"]


def test_a_job_migrates_each_service_once_a_version() -> None:
    assert kustomization(BASE / "migrations")["nameSuffix"] == "-" + VERSION.replace(".", "-")
    assert set(JOBS) == {f"{name}-migrate" for name in SERVICES}
    for name, module in SERVICES.items():
        job, deployment = JOBS[f"{name}-migrate"], DEPLOYMENTS[name]
        [container], [served] = pod_of(job)["containers"], pod_of(deployment)["containers"]
        assert container["command"] == ["python", "-m", module, "migrate"]
        assert container["image"] == served["image"]
        assert container["volumeMounts"] == served["volumeMounts"]
        assert pod_of(job)["volumes"][-1] == pod_of(deployment)["volumes"][-1]
        # The Service and the budget of the pods that serve would count it among them.
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] != name
        # It is applied before all else, when there is no ConfigMap yet.
        assert "envFrom" not in container


def test_each_service_has_what_it_needs_around_its_pods() -> None:
    by_kind = {
        kind: set(of_kind(kind, base()))
        for kind in ("PodDisruptionBudget", "NetworkPolicy", "Service", "HorizontalPodAutoscaler")
    }

    assert by_kind["PodDisruptionBudget"] == by_kind["Service"] == set(SERVICES)
    assert by_kind["NetworkPolicy"] == {*SERVICES, "closed"}
    assert by_kind["HorizontalPodAutoscaler"] == set(SERVICES) - {"integration-service"}


def test_whoever_calls_a_service_is_let_through_and_nobody_else() -> None:
    addresses = {f"http://{name}:{port}": name for name, port in _ports().items()}
    calls: dict[str, set[str]] = {name: set() for name in SERVICES}
    for caller, deployment in DEPLOYMENTS.items():
        for one in pod_of(deployment)["containers"][0]["env"]:
            address = re.match(r"http://[\w-]+:\d+", one["value"])
            if address:
                calls[addresses[address[0]]].add(caller)
    policies = of_kind("NetworkPolicy", base())

    for name, callers in calls.items():
        [rule] = policies[name]["spec"]["ingress"]
        [pods, namespaces] = rule["from"]
        [expression] = pods["podSelector"]["matchExpressions"]
        assert set(expression["values"]) == callers
        assert namespaces == {"namespaceSelector": {"matchLabels": {"access-to-crmsys": "allowed"}}}
        assert rule["ports"] == [{"port": "http"}]
    closed = policies["closed"]["spec"]
    assert closed["podSelector"] == {}
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in closed


def _ports() -> dict[str, int]:
    services = of_kind("Service", base())
    return {name: one["spec"]["ports"][0]["port"] for name, one in services.items()}


def _ceiling(name: str) -> int:
    """Return how many pods of a service may be there at once, in the middle of a release."""
    deployment = DEPLOYMENTS[name]["spec"]
    rolling = deployment["strategy"]["rollingUpdate"]
    grown = of_kind("HorizontalPodAutoscaler", base()).get(name)
    replicas = grown["spec"]["maxReplicas"] if grown else deployment["replicas"]
    # The next is only replaced when the one before has gone: one may be on its way out.
    assert (
        deployment["minReadySeconds"] >= pod_of(DEPLOYMENTS[name])["terminationGracePeriodSeconds"]
    )
    assert rolling["maxUnavailable"] == 0
    return int(replicas + rolling["maxSurge"] + 1)


def test_all_pods_at_their_ceiling_leave_postgresql_some_connections() -> None:
    for deployment in DEPLOYMENTS.values():
        [container] = pod_of(deployment)["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": "settings"}}]
        assert not {"DATABASE_POOL_SIZE", "WORKERS"} & {one["name"] for one in container["env"]}
    assert _held() + LEFT <= LETS_IN


def _held() -> int:
    """Return how many connections there are at most: all pods at their ceiling, and the Jobs."""
    pool = int(settings()["DATABASE_POOL_SIZE"])
    serving = sum(_ceiling(name) * pool for name in SERVICES)
    return serving + len(JOBS) * OF_A_MIGRATION


def test_the_secrets_have_the_keys_that_the_page_makes(tmp_path: Any) -> None:
    page = (ROOT / "docs" / "docker.md").read_text()
    made = {name: set(re.findall(r"--from-file=(\w+)=", line)) for name, line in _secrets(page)}
    files = set(re.findall(r"--from-file=\w+=secrets/(\S+)", page))
    make_secrets.main([str(tmp_path)])

    assert made == {
        "crm-api": {"API_TOKENS", "DATABASE_URL"},
        "inventory-api": {"API_TOKENS", "DATABASE_URL", "TOKEN_INTROSPECTION_TOKEN"},
        "integration-service": {
            *("API_TOKENS", "DATABASE_URL", "TOKEN_INTROSPECTION_TOKEN"),
            *("CRM_API_TOKEN", "INVENTORY_API_TOKEN"),
        },
    }
    assert files <= {path.name for path in tmp_path.iterdir()}
    mounted = {pod_of(one)["volumes"][-1]["secret"]["secretName"] for one in PODS.values()}
    assert mounted == set(made)


def test_the_page_says_how_many_connections_there_are_and_which_overlay() -> None:
    page = (ROOT / "docs" / "docker.md").read_text()
    [said] = re.findall(r"in the middle of a release, hold (\d+) connections", page)
    applied = set(re.findall(r"kubectl apply -k (\S+)", page))

    assert int(said) == _held()
    assert applied == {"deploy/kubernetes/overlays/generic"}


def _secrets(page: str) -> list[tuple[str, str]]:
    return re.findall(r"create secret generic (\S+) (.*)", page)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_the_base_and_ends_tls(overlay: str) -> None:
    told = rendered(overlay)
    kinds = [one["kind"] for one in told]

    assert len(told) == len(base()) + 2, "the ConfigMap and the Ingress"
    assert kinds.count("Ingress") == kinds.count("ConfigMap") == 1
    [ingress] = of_kind("Ingress", told).values()
    hosts = {rule["host"] for rule in ingress["spec"]["rules"]}
    [tls] = ingress["spec"]["tls"]
    assert set(tls["hosts"]) == hosts
    backends = {
        path["backend"]["service"]["name"]
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    assert backends == set(SERVICES)
    assert all(one["metadata"].get("namespace", "crmsys") == "crmsys" for one in told)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_services_answer_to_the_names_of_the_ingress_and_to_each_other(overlay: str) -> None:
    told = rendered(overlay)
    [(name, shared)] = of_kind("ConfigMap", told).items()
    [ingress] = of_kind("Ingress", told).values()
    allowed = shared["data"]["ALLOWED_HOSTS"].split(",")

    for deployment in of_kind("Deployment", told).values():
        [container] = pod_of(deployment)["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": name}}]
    assert shared["data"]["DATABASE_POOL_SIZE"] == settings()["DATABASE_POOL_SIZE"]
    assert set(SERVICES) <= set(allowed)
    for rule in ingress["spec"]["rules"]:
        assert "*." + rule["host"].partition(".")[2] in allowed
    assert "*" not in shared["data"]["FORWARDED_ALLOW_IPS"]


@needs_kubectl
@pytest.mark.parametrize(("overlay", "nodes"), [("generic", None), ("eks", "arm64")])
def test_the_nodes_are_those_of_the_overlay(overlay: str, nodes: str | None) -> None:
    told = rendered(overlay)
    pods = [pod_of(one) for one in told if one["kind"] in {"Deployment", "Job"}]

    assert len(pods) == 6
    for pod in pods:
        assert pod.get("nodeSelector", {}).get("kubernetes.io/arch") == nodes
        [container] = pod["containers"]
        assert container["image"].endswith(f":{VERSION}")
