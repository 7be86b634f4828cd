"""The files around the images agree with one another and with the code; no engine is needed."""

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from crm_api.settings import Settings as CrmSettings
from deploy import make_secrets
from service_kit import VERSION
from tests.conftest import ROOT, SERVICES

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = "docker/base/Dockerfile"
VERSIONED = [
    "Dockerfile",
    "README.md",
    "deploy/apprunner/service.json",
    "deploy/kubernetes/base/kustomization.yaml",
    "deploy/swarm/stack.yml",
    "docker-bake.hcl",
    "docker-compose.prod.yml",
    "docs/docker.md",
]


needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl on this machine"
)


class _Loader(yaml.SafeLoader):
    """Reads Compose's own marks, `!reset` and `!override`, as what they stand before."""


_Loader.add_multi_constructor(
    "!",
    lambda loader, _, node: (
        loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None
    ),
)


def compose(name: str) -> dict:
    return yaml.load((ROOT / name).read_text(), _Loader)  # noqa: S506 (a safe loader's child)


@pytest.mark.parametrize("name", VERSIONED)
def test_a_version_is_the_one_of_the_code(name: str) -> None:
    found = re.findall(r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])", (ROOT / name).read_text())

    assert VERSION in found
    others = {version for version in found if version.startswith("0.")} - {VERSION}
    assert not {
        one for one in others if name != "Dockerfile" or f"UV_VERSION={one}" not in text(name)
    }


@pytest.mark.parametrize("name", ["docs/image.md", "docs/routes.md"])
def test_an_image_in_the_documents_is_of_this_version(name: str) -> None:
    assert set(re.findall(r"cordn29/crmsys[a-z-]*:([\d.]+\d)", text(name))) == {VERSION}


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_builder_has_the_uv_that_made_the_lock() -> None:
    [pinned] = re.findall(r"^uv==(\S+)", text("requirements/dev.txt"), re.MULTILINE)

    assert f"ARG UV_VERSION={pinned}\n" in text("Dockerfile")


def test_the_base_image_of_a_release_has_a_digest_and_is_the_one_of_every_build() -> None:
    [pinned] = re.findall(r"^FROM (\S+)@sha256:[0-9a-f]{64}$", text(PINNED), re.MULTILINE)

    assert f"ARG BASE={pinned}\n" in text("Dockerfile")
    for service in SERVICES:
        build = compose("docker-compose.yml")["services"][service]["build"]
        assert build["args"] == {"BASE": f"${{BASE_IMAGE:-{pinned}}}"}
    assert PINNED in text(".github/workflows/release.yml")
    updates = yaml.safe_load(text(".github/dependabot.yml"))["updates"]
    assert "/docker/base" in {
        one["directory"] for one in updates if one["package-ecosystem"] == "docker"
    }


def test_the_services_need_all_that_is_in_their_shared_layer() -> None:
    shared = pins("service_kit")
    assert shared
    for lock in (*SERVICES, "aws_lambda"):
        assert shared <= pins(lock), lock


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^\S+==\S+", text(f"requirements/{lock}.txt"), re.MULTILINE))


def test_make_check_checks_the_recipe_and_coverage_writes_pages() -> None:
    recipes = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", text("Makefile"), re.MULTILINE))

    assert "$(BAKE) validate" in recipes["check"]
    assert "--cov-report=html" in recipes["coverage"]
    assert "/htmlcov/" in text(".gitignore").splitlines()


def test_other_names_lead_to_the_same() -> None:
    """Names that people know from elsewhere: each says where the thing itself is."""
    assert "docs/docker.md" in text("DOCKER.md")
    assert "docs/docker.md#troubleshooting" in text("TROUBLESHOOTING.md")
    done = subprocess.run(
        [ROOT / "scripts" / "docker-push.sh", "--dry-run", "STAGE=dev"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.rstrip().endswith(" docker/publish.py dev")


def test_what_goes_into_a_build_is_a_list() -> None:
    lines = [line for line in text(".dockerignore").splitlines() if not line.startswith("#")]

    assert lines[0] == "*"
    assert {"!crm_api", "!inventory_api", "!integration_service", "!service_kit"} <= set(lines)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_named_by_its_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())

    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)
        assert re.search(r"# v\d+\.\d+\.\d+$", comment)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_only_what_its_jobs_say(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())

    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]["contents"] == "read"
        assert job["timeout-minutes"] <= 45


def test_a_port_is_open_on_this_machine_alone() -> None:
    for name, service in compose("docker-compose.yml")["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_in_production_the_front_alone_has_ports() -> None:
    services = compose("docker-compose.prod.yml")["services"]

    assert {name for name, one in services.items() if one.get("ports")} == {"front"}


def test_the_two_files_of_compose_share_no_volume() -> None:
    """A folder of production in which somebody starts development is two projects."""
    assert compose("docker-compose.yml")["name"] == "crmsys-dev"
    assert compose("docker-compose.prod.yml")["name"] == "crmsys"


def test_production_is_the_same_whether_or_not_development_is_named_before_it() -> None:
    """As the command was before 0.4.0: each service takes the place of the other file's."""
    for name in compose("docker-compose.prod.yml")["services"]:
        assert f"\n  {name}: !override\n" in text("docker-compose.prod.yml")
    development = set(compose("docker-compose.yml")["services"])
    assert development <= set(compose("docker-compose.prod.yml")["services"])


def test_the_front_outwaits_the_longest_wait() -> None:
    """A minute for a delivery, 25 seconds for the feed."""
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", text("deploy/front/nginx.conf"))

    assert int(seconds) > 60


def test_the_front_lets_files_through_that_the_crm_takes() -> None:
    front = text("deploy/front/nginx.conf")
    [place, rest] = re.findall(r"location ~ (\S+) \{(.*?)\}", front, re.DOTALL)[0]
    limit = CrmSettings(database_url="sqlite:///nowhere").import_max_bytes

    for path in ("/api/imports", "/imports", "/api/imports/", "/console/imports"):
        assert re.search(place, path)
    for path in ("/api/imports/1", "/api/customers", "/api/imports/1/report", "/x/imports"):
        assert not re.search(place, path)
    assert f"client_max_body_size {limit // 2**20}m;" in rest
    assert "proxy_pass http://$service;" in rest
    [told] = re.findall(rf"at most ({limit}) bytes", front)
    assert f"location {re.findall('error_page 413 (.*);', rest)[0]}" in front
    assert int(told) == limit


def test_who_needs_no_token_has_to_name_this_machine_or_the_service() -> None:
    services = compose("docker-compose.yml")["services"]
    for name in SERVICES:
        environment = services[name]["environment"]
        assert environment["ANONYMOUS_SCOPES"]
        *hosts, more = environment["ALLOWED_HOSTS"].split(",")
        assert hosts == ["localhost", "127.0.0.1", "[::1]", name]
        assert more == "${ALLOWED_HOSTS:-}"
    calls = services["integration_service"]["environment"]
    assert (calls["CRM_API_URL"], calls["INVENTORY_API_URL"]) == (
        "${CRM_API_URL:-http://crm_api:8000}",
        "${INVENTORY_API_URL:-http://inventory_api:8001}",
    )


def test_every_service_is_fenced_in() -> None:
    for name, service in [
        pair
        for file in ("docker-compose.yml", "docker-compose.prod.yml")
        for pair in compose(file)["services"].items()
    ]:
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert "healthcheck" in service or name == "set-COMPOSE_PROFILES-to-postgres", name


def test_production_has_secrets_from_files_and_no_tokens_in_its_environment() -> None:
    for name in SERVICES:
        service = compose("docker-compose.prod.yml")["services"][name]
        assert service["read_only"] is True
        assert service["environment"]["ENVIRONMENT"] == "production"
        secret = {"API_TOKENS", "ADMIN_TOKEN", "DATABASE_URL", "OIDC_CLIENT_SECRET"}
        assert not {*secret, "ANONYMOUS_SCOPES"} & set(service["environment"])
        assert not [one for one in service["environment"] if one.endswith("_TOKEN")]
        assert {"API_TOKENS", "DATABASE_URL"} <= {one["target"] for one in service["secrets"]}
        # Whoever names hosts leaves the one by which the services call each other.
        hosts = service["environment"]["ALLOWED_HOSTS"]
        assert hosts == f"${{ALLOWED_HOSTS:+{name},}}${{ALLOWED_HOSTS:-}}"


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.prod.yml"])
def test_every_setting_works_under_compose(file: str, service: str) -> None:
    found = compose(file)["services"][service]
    files = {one["target"] for one in found.get("secrets", [])}
    for field in import_module(f"{service}.settings").Settings.model_fields:
        name = field.upper()
        if name in {"HOST", "PORT"} | (FIXED_IN_PRODUCTION if "prod" in file else set()):
            continue  # as under `make run`: CRM_PORT and so on are the ports of this machine
        value = found["environment"].get(name)
        given = re.compile(rf"\$\{{((CRM|INVENTORY|INTEGRATION)_)?{name}[:+-]")
        passed = name in found["environment"] and (value is None or given.search(value))
        assert passed or name in files, name


# What the file decides: ENVIRONMENT is production, which takes no ANONYMOUS_SCOPES; one more token
# of an admin is one more entry in secrets/crm_api_tokens; and the services' databases and tokens
# are those of ./secrets.
FIXED_IN_PRODUCTION = {"ENVIRONMENT", "ANONYMOUS_SCOPES", "ADMIN_TOKEN"}


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.prod.yml"])
def test_a_file_that_a_setting_names_is_mounted(file: str) -> None:
    mounted = compose(file)["configs"]
    for name in ("CA_FILE", "CSV_FILE_PATH", "ROUTES_FILE"):
        assert f"${{{name}:-deploy/unset}}" in {one["file"] for one in mounted.values()}
        [where] = re.findall(rf"{name}: \$\{{{name}:\+(.*)\}}", text(file))
        assert f"target: {where}}}" in text(file)
    assert (ROOT / "deploy" / "unset").is_file()


def test_the_file_for_app_runner_asks_for_no_secret_in_the_open() -> None:
    source = json.loads(text("deploy/apprunner/service.json"))["SourceConfiguration"]
    image = source["ImageRepository"]

    assert image["ImageIdentifier"].endswith("-apprunner")
    assert set(image["ImageConfiguration"]["RuntimeEnvironmentSecrets"]) == {
        "API_TOKENS",
        "DATABASE_URL",
    }


@needs_openssl
def test_the_secrets_that_are_made_fit_together_and_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = [sys.executable, ROOT / "deploy" / "make_secrets.py", folder]
    subprocess.run(command, check=True)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    (folder / "crm_api_tokens").unlink()
    subprocess.run(command, check=True)

    assert folder.stat().st_mode & 0o777 == 0o700
    for name, content in made.items():
        if name != "crm_api_tokens":
            assert (folder / name).read_text() == content
    for side in ("crm", "inventory"):
        link = (folder / f"{side}_api_token").read_text()
        assert f"integration:{link}" in (folder / f"{side}_api_tokens").read_text().split(",")
    passwords = {made["postgres_password"]}
    for name in ("crm", "inventory", "integration"):
        password = made[f"{name}_postgres_password"]
        assert made[f"{name}_database_url.postgres"] == (
            f"postgresql://{name}:{password}@postgres/{name}"
        )
        passwords.add(password)
    assert len(passwords) == 4


@needs_openssl
def test_a_password_that_the_services_share_with_the_server_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "postgres_password").write_text("shared")
    old = tmp_path / "crm_database_url.postgres"
    old.write_text("postgresql://crm:shared@postgres/crm")
    make_secrets.main([str(tmp_path)])

    [line] = [line for line in capsys.readouterr().out.splitlines() if "docs/docker.md" in line]
    assert line.startswith(f"{old} has the server's own password")


@needs_openssl
def test_a_certificate_is_for_the_domain_and_names_no_other(tmp_path: Path) -> None:
    make_secrets.main([str(tmp_path), "--domain", "example.com"])
    shown = [
        "openssl",
        "x509",
        "-noout",
        "-ext",
        "subjectAltName,basicConstraints,extendedKeyUsage",
    ]
    told = subprocess.run(
        [*shown, "-in", tmp_path / "tls_certificate"], check=True, capture_output=True, text=True
    ).stdout

    assert re.findall(r"DNS:([^,\s]+)", told) == [
        f"{name}.example.com" for name in ("crm", "inventory", "integration")
    ]
    assert "CA:FALSE" in told
    assert "TLS Web Server Authentication" in told


def test_a_certificate_of_ones_own_stays(tmp_path: Path) -> None:
    for name in ("tls_certificate", "tls_key"):
        (tmp_path / name).write_text("my own")
    make_secrets.main([str(tmp_path)])

    assert (tmp_path / "tls_key").read_text() == (tmp_path / "tls_certificate").read_text()
    assert not (tmp_path / "tls_ca").exists()


def test_what_checkov_passes_over_has_a_reason_each_and_is_little() -> None:
    lines = text("deploy/.checkov.yaml").partition("skip-check:\n")[2].splitlines()

    inline = [
        reason
        for path in (ROOT / "deploy").rglob("*.y*ml")
        for reason in re.findall(r"checkov:skip=CKV2?_[A-Z0-9]+_\d+:(.*)", path.read_text())
    ]
    assert len(lines) + len(inline) <= 10
    assert all(len(reason) > 20 for reason in inline)
    for line in lines:
        assert re.fullmatch(r"  - CKV2?_[A-Z0-9]+_\d+ # .{20,}\.", line), line


def test_whoever_moves_the_versions_finds_the_folders() -> None:
    config = yaml.safe_load(text(".github/dependabot.yml"))

    assert {one["package-ecosystem"] for one in config["updates"]} == {
        "docker",
        "docker-compose",
        "github-actions",
        "npm",
        "pip",
    }
    for one in config["updates"]:
        assert (ROOT / one["directory"].lstrip("/")).is_dir()


def test_the_list_of_parts_is_the_lock() -> None:
    for lock in SERVICES:
        command = [sys.executable, ROOT / "docker" / "sbom.py", lock]
        told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        pins = re.findall(r"^(\S+)==(\S+)", text(f"requirements/{lock}.txt"), re.MULTILINE)

        assert [(one["name"], one["version"]) for one in told["components"]] == pins
        assert told["specVersion"] == "1.6"
