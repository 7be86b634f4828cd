"""What an event leads to, as data. These are no routes of FastAPI: those are in each `router.py`.

Uses no database and no network.
"""
