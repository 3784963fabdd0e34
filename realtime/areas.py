"""Topics that show a whole city to staff: columns of everybody in view, a few times a second.

Subscribers who asked for the same view in the same form share it: one selection and one encoding serve them
all. A view remembers which slots it showed; each batch carries those that changed, those that came into view,
and the names of those that left. Whoever is too slow to take a batch gets a snapshot instead of the missing
ones, so that a picture is always a snapshot and every change since.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import h3
import numpy as np
import orjson

from core.errors import Invalid, NotFound
from core.ids import UserId
from core.shard import Shard
from geo.arrays import BoolArray, IntArray
from geo.cells import cells_of
from geo.frames import convert
from geo.point import Frame
from geo.position_index import Flag, PositionIndex
from geo.shard_positions import ShardPositions
from realtime.codec import Codec
from realtime.messages import Area
from realtime.ports import WatchGrant, WatchRights
from realtime.session import Session

ROWS_MAX: Final = 64
"""Rows of one frame: about 5 KiB, well below the smallest window of the send queue."""

STATES: Final = ("off", "idle", "offered", "busy")
"""Values of the ``state`` column, which is their index; 10 is added for those who are not connected."""

Box = tuple[float, float, float, float]
"""west, south, east, north in the platform's frame, degrees; west > east crosses the antimeridian."""
ViewKey = tuple[str, Shard, Box | None, frozenset[str] | None, Codec, Frame | None]


def check_cells(cells: Iterable[str]) -> None:
    """Raise ``Invalid`` unless all are H3 cells of one resolution, at least one."""
    names = list(cells)
    if not names or not all(h3.is_valid_cell(name) for name in names):
        raise Invalid("must be H3 cells, at least one", field="cells")
    if len({h3.get_resolution(name) for name in names}) > 1:
        raise Invalid("must be cells of one resolution", field="cells")


class AreaMember:
    """One session that watches a view."""

    __slots__ = ("behind", "dropped", "grant", "session", "view")

    def __init__(self, session: Session, view: "View", grant: WatchGrant) -> None:
        self.session = session
        self.view = view
        self.grant = grant
        self.behind = True
        """The next batch must be a snapshot."""
        self.dropped = 0


class View:
    """What a set of subscribers sees of one city."""

    __slots__ = ("gone", "key", "members", "names", "number", "shown")

    def __init__(self, key: ViewKey) -> None:
        self.key = key
        self.members: dict[Session, AreaMember] = {}
        self.shown: BoolArray = np.zeros(0, dtype=np.bool_)
        self.names: dict[int, UserId] = {}
        self.gone: list[UserId] = []
        self.number = 0
        """Counts frames, so that no two of them conflate."""


class Areas:
    """All views of all cities.

    Args:
        frame: The platform's frame.
        fresh_s: Age of a position at which it is no longer shown, seconds.
        rights: Who may watch.
        positions: Where people are.
        count: Counts a named outcome.
    """

    __slots__ = ("_changed", "_count", "_frame", "_fresh_s", "_positions", "_rights", "_views")

    def __init__(
        self,
        frame: Frame,
        fresh_s: float,
        rights: Callable[[], WatchRights],
        positions: Mapping[Shard, ShardPositions],
        count: Callable[[str], None],
    ) -> None:
        self._frame = frame
        self._fresh_s = fresh_s
        self._rights = rights
        self._positions = positions
        self._count = count
        self._views: dict[ViewKey, View] = {}
        self._changed: dict[Shard, list[IntArray]] = {}

    def __len__(self) -> int:
        """Number of views."""
        return len(self._views)

    # -- subscriptions --------------------------------------------------------------------------------

    def watch(
        self, session: Session, name: str, grant: WatchGrant, bbox: Box | None, cells: Iterable[str] | None
    ) -> AreaMember:
        """Subscribe; the snapshot comes with the next batch.

        Raises:
            NotFound: The grant names no city.
        """
        if grant.shard is None:
            raise NotFound("no such topic", field="topic")
        named = None if cells is None else frozenset(cells)
        key: ViewKey = (name, grant.shard, bbox, named, session.codec, session.target)
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = View(key)
            self._changed.setdefault(grant.shard, [])
        member = view.members[session] = AreaMember(session, view, grant)
        return member

    def unwatch(self, member: AreaMember) -> None:
        """End a subscription and forget what waits for it."""
        view = member.view
        view.members.pop(member.session, None)
        member.session.queue.purge(view.key[0])
        if not view.members:
            self._views.pop(view.key, None)
            if not any(other.key[1] == view.key[1] for other in self._views.values()):
                self._changed.pop(view.key[1], None)

    def members_of(self, name: str) -> list[AreaMember]:
        """Everybody who watches the topic in whatever view."""
        return [member for view in self._views.values() if view.key[0] == name for member in view.members.values()]

    # -- changes --------------------------------------------------------------------------------------

    def changed(self, shard: Shard, slots: IntArray) -> None:
        """Live positions or states of ``slots`` changed."""
        batches = self._changed.get(shard)
        if batches is not None:
            batches.append(slots)

    def touched(self, shard: Shard, slot: int) -> None:
        """Something but the position of one slot changed."""
        if shard in self._changed:
            self._changed[shard].append(np.array([slot], dtype=np.int64))

    def released(self, shard: Shard, slot: int, user: UserId) -> None:
        """A slot was given back: its owner is gone from every view, also if somebody else has it by the next batch."""
        for view in self._views.values():
            if view.key[1] == shard and slot < len(view.shown) and view.shown[slot]:
                view.shown[slot] = False
                view.names.pop(slot, None)
                view.gone.append(user)

    # -- batches --------------------------------------------------------------------------------------

    def send(self, now: float, renew: Callable[[AreaMember], bool]) -> None:
        """Send each view what changed since its last batch.

        Args:
            now: Time of the batch.
            renew: Takes a member's right again; False when it ended.
        """
        changes = {shard: batches for shard, batches in self._changed.items() if batches}
        for shard in changes:
            self._changed[shard] = []
        for view in list(self._views.values()):
            self._send_view(view, changes.get(view.key[1], []), now, renew)

    def _send_view(self, view: View, batches: list[IntArray], now: float, renew: Callable[[AreaMember], bool]) -> None:
        name, shard = view.key[0], view.key[1]
        index = self._positions[shard].index
        version = self._rights().version(name)
        members = []
        for member in list(view.members.values()):
            if member.grant.version != version:
                member.session.queue.purge(name)
                member.behind = True
                if not renew(member) or member.grant.version != version or member.view is not view:
                    continue
            members.append(member)
        visible = self._visible(index, view, now)
        before = view.shown
        if len(before) < len(visible):
            before = np.concatenate([before, np.zeros(len(visible) - len(before), dtype=np.bool_)])
        left = np.flatnonzero(before & ~visible)
        gone = [*view.gone, *(view.names.pop(slot) for slot in left.tolist())]
        touched = ~before
        for batch in batches:
            touched[batch] = True
        news = np.flatnonzero(visible & touched)
        for slot in np.flatnonzero(visible & ~before).tolist():
            view.names[slot] = index.user(slot)
        if gone:
            # Whoever left and came back between two batches is not gone.
            back = {view.names[slot] for slot in news.tolist()}
            gone = [name for name in gone if name not in back]
        view.shown, view.gone = visible, []
        self._hand_out(view, members, news, gone, now)

    def _hand_out(self, view: View, members: list[AreaMember], news: IntArray, gone: list[UserId], now: float) -> None:
        delta: list[bytes] | None = None
        snapshot: list[bytes] | None = None
        for member in members:
            queue = member.session.queue
            if queue.pending_bytes > 0 or queue.is_paused:
                # It has not taken the last batch; what it misses comes in one piece once it has.
                if not member.behind:
                    member.behind = True
                    self._count("area_behind")
                continue
            if member.behind or queue.dropped != member.dropped:
                if snapshot is None:
                    snapshot = self._frames(view, np.flatnonzero(view.shown), [], now, snapshot=True)
                frames = snapshot
                member.behind = False
                member.dropped = queue.dropped
            else:
                if not len(news) and not gone:
                    continue
                if delta is None:
                    delta = self._frames(view, news, gone, now, snapshot=False)
                frames = delta
            for payload in frames:
                view.number += 1
                queue.offer_position((view.key[0], str(view.number)), payload, now)

    def _visible(self, index: PositionIndex, view: View, now: float) -> BoolArray:
        _, _, box, cells, _, _ = view.key
        visible: BoolArray = (index.flags & int(Flag.PLACED) != 0) & (index.seen_at >= now - self._fresh_s)
        if box is not None:
            west, south, east, north = box
            within = (index.lat >= south) & (index.lat <= north)
            if west <= east:
                within &= (index.lng >= west) & (index.lng <= east)
            else:
                within &= (index.lng >= west) | (index.lng <= east)
            visible &= within
        if cells is not None:
            slots = np.flatnonzero(visible)
            resolution = h3.get_resolution(next(iter(cells)))
            for slot, cell in zip(
                slots.tolist(), cells_of(index.lat[slots], index.lng[slots], resolution), strict=True
            ):
                visible[slot] = cell in cells
        return visible

    def _frames(self, view: View, slots: IntArray, gone: list[UserId], now: float, *, snapshot: bool) -> list[bytes]:
        names, columns = [view.names[slot] for slot in slots.tolist()], self._columns(view, slots, now)
        starts = range(0, max(len(slots), len(gone), 1), ROWS_MAX)
        return [
            self._frame_of(
                view,
                {"technician": names[i : i + ROWS_MAX]} | {key: c[i : i + ROWS_MAX] for key, c in columns.items()},
                gone[i : i + ROWS_MAX],
                now,
                snapshot=snapshot and i == 0,
                more=i != starts[-1],
            )
            for i in starts
        ]

    def _columns(self, view: View, slots: IntArray, now: float) -> dict[str, Any]:
        """All rows at once: array operations on 64 rows cost as much as on thousands."""
        _, shard, _, _, _, target = view.key
        index = self._positions[shard].index
        lat, lng = index.lat[slots], index.lng[slots]
        if target is not None:
            lat, lng = convert(lat, lng, self._frame, target)
        return {
            "lat": np.round(lat, 6),
            "lng": np.round(lng, 6),
            # NaN has no JSON: -1 says that the heading is not known.
            "heading_deg": np.round(np.nan_to_num(index.heading_deg[slots], nan=-1.0)).astype(np.int64),
            "state": _states(index.flags[slots]),
            "age_s": np.round(np.maximum(0.0, now - index.seen_at[slots]), 1),
        }

    def _frame_of(
        self, view: View, columns: dict[str, Any], gone: list[UserId], now: float, *, snapshot: bool, more: bool
    ) -> bytes:
        name, _, _, _, codec, target = view.key
        if codec.is_json:
            body: dict[str, Any] = {"type": "area", "topic": name, "crs": (target or self._frame).value}
            body |= {"at": round(now, 3), "snapshot": snapshot, "columns": columns}
            if gone:
                body["gone"] = gone
            if more:
                body["more"] = True
            return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        plain = {key: value if isinstance(value, list) else value.tolist() for key, value in columns.items()}
        area = Area(name, (target or self._frame).value, round(now, 3), snapshot, plain, more, list(gone))
        encoded: bytes = codec.encode(area)
        return encoded


def _states(flags: IntArray) -> IntArray:
    state = np.zeros(len(flags), dtype=np.int64)
    state[flags & int(Flag.IDLE) != 0] = 1
    state[flags & int(Flag.OFFERED) != 0] = 2
    state[flags & int(Flag.BUSY) != 0] = 3
    state[flags & int(Flag.CONNECTED) == 0] += 10
    return state
