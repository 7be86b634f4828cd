"""The Docker engine under test: its commands, and waiting for what they bring about."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HANDLERS = Path("/proc/sys/fs/binfmt_misc")
# A namespace of the tests' own, so that no image of somebody's is replaced.
NAMESPACE = "crmsys-test"
IMAGES = {
    "crm_api": "crmsys",
    "inventory_api": "crmsys-inventory",
    "integration_service": "crmsys-integration",
}
REGISTRY = os.environ.get("TEST_REGISTRY", "localhost:5000")
CERTIFICATE = os.environ.get("CA_CERT") or os.environ.get("SSL_CERT_FILE") or ""
BAKE = [
    "docker",
    "buildx",
    "bake",
    *([f"--allow=fs.read={CERTIFICATE}"] if CERTIFICATE else []),
    "-f",
    "docker-bake.hcl",
]


def run(
    *command: str | Path,
    cwd: Path | None = None,
    seconds: float = 300,
    stdin: str | None = None,
    **env: str,
) -> str:
    """Run to the end, and give what it wrote; a failure shows all of it."""
    done = attempt(*command, cwd=cwd, seconds=seconds, stdin=stdin, **env)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def attempt(
    *command: str | Path,
    cwd: Path | None = None,
    seconds: float = 300,
    stdin: str | None = None,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        timeout=seconds,
        input=stdin,
        env=os.environ | {"CA_CERT": CERTIFICATE} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for an answer that is true, and give it."""
    give_up_at = time.monotonic() + seconds
    while True:
        if found := true():
            return found
        assert time.monotonic() < give_up_at, f"not within {seconds} s"
        time.sleep(0.1)


def ask(
    url: str, *, token: str = "", body: Mapping[str, Any] | None = None, **headers: str
) -> tuple[int, Any]:
    """Send a request, and give the status and the JSON of the answer; 0 where there is none."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json", **headers})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)
    except OSError:
        return 0, None


def bake(root: Path, *arguments: str, **env: str) -> dict[str, str]:
    """Bake, and give each target's digest."""
    metadata = root / ".metadata.json"
    try:
        command = [*BAKE, "--metadata-file", metadata, *arguments]
        run(*command, cwd=root, seconds=900, NAMESPACE=NAMESPACE, **env)
        results = json.loads(metadata.read_text())
    finally:
        metadata.unlink(missing_ok=True)
    return {name: one["containerimage.digest"] for name, one in results.items()}


def of_the_commit(root: Path) -> dict[str, str]:
    """Give the variables that make sets for a build."""
    return {
        "REVISION": run("git", "rev-parse", "HEAD", cwd=root).strip(),
        "COMMIT_TIME": run("git", "log", "-1", "--format=%ct", cwd=root).strip(),
    }


def manifest(repository: str, reference: str) -> dict[str, Any]:
    """Read a manifest from the registry, by its own protocol."""
    kinds = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    url = f"http://{REGISTRY}/v2/{repository}/manifests/{reference}"
    status, found = ask(url, Accept=kinds)
    assert status == 200, (repository, reference, status)
    assert isinstance(found, dict)
    return found


def inspect(name: str) -> dict[str, Any]:
    found: dict[str, Any]
    [found] = json.loads(run("docker", "inspect", name))
    return found


def served_by(container: str) -> int:
    """Give the number that a container's service has in it, below its init."""
    look = """
import pathlib
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if path.read_bytes().endswith(b"\\0serve\\0") and path.parent.name != "1":
        print(path.parent.name)
"""
    return int(run("docker", "exec", container, "python", "-c", look))


def write_as_root(path: Path, text: str) -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    run(*sudo, "tee", path, stdin=text)
