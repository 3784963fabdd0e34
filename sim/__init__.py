"""Phones, customers and virtual time: runs the real services without real waiting."""
