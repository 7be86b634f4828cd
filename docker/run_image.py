"""Runs the CRM's image on port 8000, and says first what a foreign architecture needs.

    ARCH=arm64 python docker/run_image.py

As the Makefile calls it: REGISTRY, NAMESPACE and VERSION name the image.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

HANDLERS = Path("/proc/sys/fs/binfmt_misc")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def main() -> int:
    architecture = os.environ.get("ARCH", "")
    if architecture not in {"", *MACHINES}:
        print(f"There are images for amd64 and arm64, not for {architecture}.", file=sys.stderr)
        return 1
    if architecture and lacks_emulation(MACHINES[architecture]):
        print(
            f"This machine runs {platform.machine()} and has no emulation for {architecture}: the "
            "container would end with exec format error. This installs one, until the next boot:\n"
            f"    docker run --privileged --rm tonistiigi/binfmt --install {architecture}",
            file=sys.stderr,
        )
        return 1
    return subprocess.run(command(architecture), check=False).returncode


def lacks_emulation(machine: str) -> bool:
    """Tell whether a container of that machine can't run here. Elsewhere than on Linux it can."""
    if platform.system() != "Linux" or platform.machine() == machine:
        return False
    return not (HANDLERS / f"qemu-{machine}").exists()


def command(architecture: str) -> list[str]:
    parts = [os.environ.get("REGISTRY"), os.environ.get("NAMESPACE", "cordn29"), "crmsys"]
    tag = "-".join(filter(None, [os.environ["VERSION"], architecture]))
    image = f"{'/'.join(filter(None, parts))}:{tag}"
    chosen = ["--platform", f"linux/{architecture}"] if architecture else []
    return ["docker", "run", "--rm", "--init", "-p", "127.0.0.1:8000:8000", *chosen, image]


if __name__ == "__main__":
    sys.exit(main())
