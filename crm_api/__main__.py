import sys

from crm_api.commands import main

if __name__ == "__main__":
    sys.exit(main())
