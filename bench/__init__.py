"""Measurements. Each module has ``main() -> dict``; ``python -m bench`` runs them and keeps the figures."""
