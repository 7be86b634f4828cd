import sys

from integration_service.commands import main

if __name__ == "__main__":
    sys.exit(main())
