"""Orders, offers and the matching round: who is asked to go, and why. Decides in engine.py, waits in service.py."""
