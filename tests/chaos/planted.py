"""The bugs that a campaign must be able to find."""

from tests.system.planting import Change

NO_CONSTRAINT = [
    Change(
        "inventory_api/migrations/0001_package_requests_and_stock.py",
        """
        sa.UniqueConstraint(
            "customer_id", "package_type", "occurrence", name="uq_package_requests_identity"
        ),
""",
        "\n",
    ),
]
