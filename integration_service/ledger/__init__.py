"""The lease and its fence, pausing and waking, and the one row that every process locks.

Imports no other package of this service.
"""
