"""Incidents: raising, reaching people, escalating until a human acts. Decides in engine.py, waits in service.py."""
