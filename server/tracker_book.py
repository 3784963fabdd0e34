"""Brings the registered trackers into memory, at the start or as soon as they can be read."""

import logging
from typing import Final

from core.service import pause
from trackers.counts import Counts
from trackers.ports import DeviceStore
from trackers.registry import Registry

_log = logging.getLogger(__name__)
_AGAIN_S: Final = 5.0


class TrackerBook:
    """The registry with its store. Until it is read nobody is refused as unknown: apps are told to come again.

    Attributes:
        counts: What became of what trackers sent.
    """

    def __init__(self, registry: Registry, store: DeviceStore, counts: Counts) -> None:
        self.counts = counts
        self._registry = registry
        self._store = store

    @property
    def devices(self) -> int:
        """Devices that are known."""
        return len(self._registry)

    async def load(self) -> None:
        """Read all devices once; what fails is tried again by ``run``."""
        try:
            self._registry.load(await self._store.load())
        except Exception:  # noqa: BLE001 - an SOS by every other door must not wait for it
            _log.critical("the registered trackers cannot be read: their apps are told to come again", exc_info=True)

    async def run(self) -> None:
        """Try until they are read; then return."""
        while not self._registry.is_loaded:
            await pause(_AGAIN_S)
            await self.load()
