"""The reliable streams: how far this device has each of them, and what it must acknowledge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doorstep_client.codec import BadFrame


@dataclass(slots=True)
class StreamPlace:
    """Last message of a reliable stream that this device has."""

    epoch: str
    seq: int


class Streams:
    """Places in the streams, which outlive connections, and acknowledgements, which do not."""

    def __init__(self) -> None:
        self._places: dict[str, StreamPlace] = {}
        self._acks: dict[str, int] = {}

    @property
    def places(self) -> Mapping[str, StreamPlace]:
        """The place in each stream of which anything was heard."""
        return self._places

    def resume(self) -> dict[str, dict[str, Any]]:
        """What ``hello`` says of them; empty on the first connection."""
        return {name: {"epoch": place.epoch, "seq": place.seq} for name, place in self._places.items()}

    def disconnected(self) -> None:
        """Nothing needs an ack any more: the server asks ``hello`` instead."""
        self._acks.clear()

    def welcomed(self, streams: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over where the server begins."""
        for name, place in streams.items():
            # A snapshot may be lost on its way: only when it is here does the device stand where it says.
            if place["how"] == "fresh" or (place["how"] == "replayed" and name not in self._places):
                self._places[name] = StreamPlace(place["epoch"], place["seq"])

    def is_new(self, body: dict[str, Any]) -> bool:
        """Note the place of a message and queue its ack; False for a repetition.

        Raises:
            BadFrame: A gap: something was lost, so reconnect and resume.
        """
        stream, seq, epoch = body["stream"], body["seq"], body["epoch"]
        place = self._places.get(stream)
        if place is None or place.epoch != epoch or body["type"] == "snapshot":
            self._places[stream] = StreamPlace(epoch, seq)
        elif seq <= place.seq:
            self._acks[stream] = place.seq
            return False
        elif seq != place.seq + 1:
            raise BadFrame(f"stream {stream} jumped from {place.seq} to {seq}")
        else:
            place.seq = seq
        self._acks[stream] = seq
        return True

    def ack_frames(self) -> list[dict[str, Any]]:
        """One ``ack`` for all that came since the last one, or nothing."""
        if not self._acks:
            return []
        acks, self._acks = self._acks, {}
        return [{"type": "ack", **acks}]
