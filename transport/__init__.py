"""Adapters to the outside: WebSocket listener, in-process bus, Redis bus. No decisions."""
