"""The change feed: one numbered event for each change, in the order of their commits."""
