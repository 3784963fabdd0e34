"""What every kind of test shares: no example is judged by how long it took, because machines may be busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("doorstep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("doorstep")
