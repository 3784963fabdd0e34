"""Composition root: config, wiring, lifecycle, observability, and the only real clock."""
