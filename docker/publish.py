"""Builds images, pushes them, and reads back what the registry has now.

    python docker/publish.py dev|prod|deploy

As the Makefile calls it: REGISTRY, NAMESPACE, VERSION and DEPLOY come from the environment. Where
an image's architecture is not what its tag promises, the exit code is 1.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BAKE = ["docker", "buildx", "bake", "-f", "docker-bake.hcl"]
TOOLS = ["docker", "buildx", "imagetools"]
BOTH = ["amd64", "arm64"]
NEEDS = {"lambda": "arm64", "eks": "arm64", "apprunner": "amd64"}
INDEX = "application/vnd.oci.image.index.v1+json"


class Refused(Exception):
    """What was asked for is not done, or not as it should be; the sentence says why."""


def main(stage: str) -> int:
    try:
        if stage == "deploy":
            place = chosen_place()
            for name in push(place, stage):
                check_plain(name, NEEDS[place])
        else:
            if stage == "prod":
                refuse_changes()
            for name in push("default", stage):
                check_index(name)
    except Refused as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


def chosen_place() -> str:
    place = os.environ.get("DEPLOY", "")
    if place not in NEEDS:
        raise Refused("Say where it is to run: DEPLOY=lambda, DEPLOY=eks or DEPLOY=apprunner.")
    return place


def refuse_changes() -> None:
    changed = output("git", "status", "--porcelain").splitlines()
    if changed:
        raise Refused(
            f"There are {len(changed)} changes that no commit has. A published image belongs to a "
            "commit, so that it can be built again: commit or stash them first."
        )


def push(target: str, stage: str) -> Iterator[str]:
    """Build and push a group of targets, and name the images that are in the registry then."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.json"
        env = os.environ | {"STAGE": "dev" if stage == "dev" else "prod", "TO": "registry"}
        if stage != "deploy":
            env |= {"ARCH": "", "DEPLOY": ""}  # the tags of a stage promise both architectures
        command = [*BAKE, "--push", "--metadata-file", str(metadata), target]
        if certificate := env.get("CA_CERT"):
            command.append(f"--allow=fs.read={certificate}")
        if subprocess.run(command, env=env, check=False).returncode != 0:
            raise Refused("Nothing, or not everything, was pushed; the lines above say why.")
        built: dict[str, Any] = json.loads(metadata.read_text())
    for result in built.values():
        # What is in the registry now, by its digest; a tag could have been moved meanwhile.
        if name := result.get("image.name"):
            yield f"{name.split(',')[0]}@{result['containerimage.digest']}"


def check_index(name: str) -> None:
    """Check that an index has both architectures, and give each a tag of its own."""
    tagged, _, digest = name.partition("@")
    repository, _, tag = tagged.rpartition(":")
    index = manifest(f"{repository}@{digest}")
    if index["mediaType"] != INDEX:
        raise Refused(f"{tagged} is one image, and no index of two architectures.")
    found = {
        entry["platform"]["architecture"]: entry["digest"]
        for entry in index["manifests"]
        if entry["platform"]["os"] != "unknown"  # an attestation about one of the others
    }
    if sorted(found) != BOTH:
        raise Refused(f"{tagged} has {', '.join(sorted(found))}, and not {', '.join(BOTH)}.")
    print(f"{tagged}: index of {', '.join(BOTH)}")
    for architecture, one in found.items():
        alias = f"{repository}:{tag}-{architecture}"
        subprocess.run(
            [*TOOLS, "create", "--prefer-index=false", "-t", alias, f"{repository}@{one}"],
            check=True,
            capture_output=True,
        )
        check_plain(alias, architecture)


def check_plain(name: str, architecture: str) -> None:
    """Check that a name leads to one image, without index, that says it is for the architecture."""
    tagged, _, digest = name.partition("@")
    repository, _, _ = tagged.rpartition(":")
    reference = f"{repository}@{digest}" if digest else name
    if manifest(reference)["mediaType"] == INDEX:
        raise Refused(f"{tagged} is an index; where it is to run takes a single image only.")
    config = json.loads(output(*TOOLS, "inspect", "--format", "{{json .Image}}", reference))
    if config["architecture"] != architecture:
        raise Refused(
            f"{tagged} is for {config['architecture']}, not for {architecture}; it would end with "
            "exec format error."
        )
    print(f"{tagged}: {architecture}")


def manifest(reference: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output(*TOOLS, "inspect", "--raw", reference))
    return found


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
