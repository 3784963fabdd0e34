"""Safety profiles in ``safety.db``: the SQL of ``safety.profiles.ProfileStore``."""

from typing import Final

from sqlalchemy import select

from safety.profiles import Profile
from store import schema
from store.blobs import Blob
from store.database import Database
from store.statements import Statement, upsert

_PROFILE: Final = Blob(Profile)
_p = schema.profiles.c
_PUT: Final = upsert(schema.profiles)
_ALL: Final = Statement(select(_p.body).order_by(_p.tenant, _p.user))


class SqlProfileStore:
    """``safety.profiles.ProfileStore`` on ``safety.db``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[Profile]:
        """See the port."""
        return await self._database.read(lambda c: [_PROFILE.unpack(row[0]) for row in _ALL.all(c)])

    async def put(self, profile: Profile) -> None:
        """See the port."""
        row = (profile.tenant, profile.user, profile.changed_at, _PROFILE.pack(profile))
        await self._database.write(lambda c: _PUT.change(c, *row))
