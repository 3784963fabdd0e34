"""Sets PINs and looks at those that are given. Waits only for the hasher; decides nothing about incidents."""

from collections import deque

from core.errors import Forbidden, Refused
from core.ids import TenantId, UserId
from core.principal import Principal
from safety.pins import PinHasher, check_pins
from safety.profiles import PinHashes, Profiles
from safety.settings import PinSettings

PEOPLE_MAX = 100_000
"""People whose wrong tries are remembered; of more the longest silent one is forgotten."""


class WrongTries:
    """Wrong PINs of each person, over all their devices and sockets, for a while."""

    def __init__(self, settings: PinSettings) -> None:
        self._settings = settings
        self._of: dict[tuple[TenantId, UserId], deque[float]] = {}

    def count(self, tenant: TenantId, user: UserId, now: float) -> int:
        """How many there were within the window."""
        tries = self._of.get((tenant, user))
        if tries is None:
            return 0
        while tries and tries[0] <= now - self._settings.tries_window_s:
            tries.popleft()
        if not tries:
            del self._of[tenant, user]
        return len(tries)

    def note(self, tenant: TenantId, user: UserId, now: float) -> None:
        """One more wrong one."""
        tries = self._of.pop((tenant, user), None) or deque(maxlen=self._settings.tries_max)
        tries.append(now)
        self._of[tenant, user] = tries  # at the end: the first is the one longest silent
        if len(self._of) > PEOPLE_MAX:
            del self._of[next(iter(self._of))]

    def forgive(self, tenant: TenantId, user: UserId) -> None:
        """The right one was given."""
        self._of.pop((tenant, user), None)


class PinDesk:
    """Makes hashes of new PINs for who may set them."""

    def __init__(self, profiles: Profiles, hasher: PinHasher, settings: PinSettings) -> None:
        self._profiles = profiles
        self._hasher = hasher
        self._settings = settings
        self._tries = WrongTries(settings)

    async def renewed(self, who: Principal, pin: str, duress: str, old_pin: str, now: float) -> PinHashes:
        """Hashes of new PINs, for the person's profile.

        Args:
            who: Whose PINs they are.
            old_pin: The PIN so far; not needed with a token that began lately.

        Raises:
            Invalid: The PINs are too weak (``pin_weak``).
            Refused: ``pin_wrong``: the old one is not the right one; ``pin_tries_spent``: too many were wrong.
            Forbidden: ``sign_in_again``: no old PIN was given, and the token is too old.
        """
        check_pins(pin, duress)
        if not (who.issued_at and now - who.issued_at <= self._settings.fresh_token_s):
            await self._check_old(who, old_pin, now)
        return PinHashes(await self._hasher.hash(pin), await self._hasher.hash(duress), now)

    async def _check_old(self, who: Principal, old_pin: str, now: float) -> None:
        known = self._profiles.profile(who.tenant, who.user).pins
        if known is None or not old_pin:
            raise Forbidden("sign in again, or give the old PIN", code="sign_in_again")
        if self._tries.count(who.tenant, who.user, now) >= self._settings.tries_max:
            raise Refused("too many wrong PINs: sign in again", code="pin_tries_spent")
        # Counted before the look: ten at once are ten tries.
        self._tries.note(who.tenant, who.user, now)
        is_right, _ = await self._hasher.matches((known.pin, known.duress), old_pin)
        if not is_right:
            raise Refused("the old PIN is not the right one", code="pin_wrong", field="pins.old_pin")
        self._tries.forgive(who.tenant, who.user)
