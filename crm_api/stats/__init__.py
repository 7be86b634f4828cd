"""Counts for a dashboard."""
