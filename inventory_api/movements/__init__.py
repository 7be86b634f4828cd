"""Moving stock, and giving what comes in to whoever waits for it."""
