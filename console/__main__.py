"""The console by itself, apart from the CRM: `python -m console serve`."""

import sys

from service_kit.process import cli
from service_kit.process.cli import Service

SERVICE = Service(name="console", port=8003, package="console.standalone")

if __name__ == "__main__":
    sys.exit(cli.main(SERVICE))
