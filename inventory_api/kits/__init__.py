"""Kits: what goes into a package of a type, one version after another."""
