"""The hub: sessions, reliable streams, positions in, watching. Decides in engines, waits in service.py."""
