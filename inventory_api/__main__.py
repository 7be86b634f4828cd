import sys

from inventory_api.commands import main

if __name__ == "__main__":
    sys.exit(main())
