"""Toy cities from the literature, in which the matching code of ``dispatch`` is set beside published figures."""
