"""Prints what an image is made of as a CycloneDX document, from the locked requirements alone.

python docker/sbom.py crm_api
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def main(lock: str) -> int:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    version = (
        (ROOT / "service_kit" / "__init__.py").read_text().split('VERSION = "')[1].split('"')[0]
    )
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": lock, "version": version}},
        "components": list(components(text)),
    }
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


def components(text: str) -> Iterator[dict[str, Any]]:
    for line in text.replace("\\\n", " ").splitlines():
        if pin := PIN.match(line):
            name, version = pin.group(1).lower(), pin.group(2)
            yield {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                "properties": [
                    # A file of each platform and Python; the one that was installed is among them.
                    {"name": "crmsys:accepted-sha256", "value": digest}
                    for digest in HASH.findall(line)
                ],
            }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
