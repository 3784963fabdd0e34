"""Errors of trackers."""

from core.errors import Conflict, Refused


class UnknownDevice(Refused):
    """No registered device sends this id, password or token."""

    default_code = "tracker_unknown"


class TooManyDevices(Conflict):
    """So many are registered as may be."""

    default_code = "devices_full"
