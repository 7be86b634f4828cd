"""Moving stock, and allocating what comes in."""
