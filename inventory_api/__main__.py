import sys

from service_kit.commands import Service, main

SERVICE = Service(name="inventory_api", port=8001)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
