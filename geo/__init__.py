"""Coordinates, positions, index, zones, travel time. Pure; numpy, shapely and h3 live here."""
