"""Inventory: welcome packages, each requested once for ever."""
