"""Which version this is."""

from importlib import metadata


def version() -> str:
    """The installed version; ``0`` when the package runs from a folder that was never installed."""
    try:
        return metadata.version("doorstep")
    except metadata.PackageNotFoundError:
        return "0"
