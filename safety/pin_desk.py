"""Sets PINs and judges those that are given. Waits only for the hasher; decides nothing about incidents."""

from collections import deque
from collections.abc import Callable

from core.errors import Forbidden, Refused, Unavailable
from core.ids import TenantId, UserId
from core.principal import Principal
from safety.model import PinVerdict
from safety.pins import PinHasher, check_pins
from safety.profiles import PinHashes, Profiles
from safety.settings import PinSettings

PEOPLE_MAX = 100_000
"""People whose wrong tries are remembered; of more the longest silent one is forgotten."""
Judged = Callable[[PinVerdict | None], None]
"""Told what a PIN was; None when it could not be looked at."""


class WrongTries:
    """Wrong PINs of each person, over all their devices and sockets, for a while."""

    def __init__(self, settings: PinSettings) -> None:
        self._settings = settings
        self._of: dict[tuple[TenantId, UserId], deque[float]] = {}

    def are_spent(self, tenant: TenantId, user: UserId, now: float) -> bool:
        """Whether there were as many within the window as there may be."""
        tries = self._of.get((tenant, user))
        if tries is None:
            return False
        while tries and tries[0] <= now - self._settings.tries_window_s:
            tries.popleft()
        if not tries:
            del self._of[tenant, user]
        return len(tries) >= self._settings.tries_max

    def note(self, tenant: TenantId, user: UserId, now: float) -> None:
        """One more wrong one."""
        tries = self._of.pop((tenant, user), None) or deque(maxlen=self._settings.tries_max)
        tries.append(now)
        self._of[tenant, user] = tries  # at the end: the first is the one longest silent
        if len(self._of) > PEOPLE_MAX:
            del self._of[next(iter(self._of))]

    def forgive(self, tenant: TenantId, user: UserId) -> None:
        """One that counts was given."""
        self._of.pop((tenant, user), None)


class PinDesk:
    """Judges PINs, and makes hashes of new ones for who may set them."""

    def __init__(self, profiles: Profiles, hasher: PinHasher, settings: PinSettings) -> None:
        self._profiles = profiles
        self._hasher = hasher
        self._settings = settings
        self._tries = WrongTries(settings)

    # -- taking an alarm back -------------------------------------------------------------------------

    def judge(self, who: Principal, pin: str, raised_at: float, judged: Judged) -> None:
        """Look at the PIN of somebody who takes an alarm back. ``judged`` is called once, later.

        Wrong ones are counted by the engine, which keeps them over restarts.

        Args:
            raised_at: When the alarm was raised. A PIN that was set after it may be that of whoever has taken the
                phone: it is answered like the right one, and counts as the one for duress.
        """
        pins = self._profiles.profile(who.tenant, who.user).pins

        def looked(found: tuple[bool, bool] | None) -> None:
            if found is None:
                judged(None)
            elif pins is None or not any(found):
                judged(PinVerdict.WRONG)
            else:
                is_theirs = found[0] and not pins.forced and pins.set_at <= raised_at
                judged(PinVerdict.RIGHT if is_theirs else PinVerdict.DURESS)

        self._hasher.look((pins.pin, pins.duress) if pins is not None else None, pin, looked)

    # -- setting new ones -----------------------------------------------------------------------------

    async def renewed(self, who: Principal, pin: str, duress: str, old_pin: str, now: float) -> PinHashes:
        """Hashes of new PINs, for the person's profile.

        Args:
            who: Whose PINs they are.
            old_pin: The PIN so far; not needed with a token that began lately. The one for duress does as well, and
                the new PINs will never take an alarm back: whoever forced it must not see that it was noticed.

        Raises:
            Invalid: The PINs are too weak (``pin_weak``).
            Refused: ``pin_wrong``: the old one is not the right one; ``pin_tries_spent``: too many were wrong.
            Forbidden: ``sign_in_again``: no old PIN was given, and the token is too old.
            Unavailable: The old PIN could not be looked at.
        """
        check_pins(pin, duress)
        forced = False
        if not (who.issued_at and now - who.issued_at <= self._settings.fresh_token_s):
            forced = await self._check_old(who, old_pin, now)
        return PinHashes(await self._hasher.hash(pin), await self._hasher.hash(duress), now, forced)

    async def _check_old(self, who: Principal, old_pin: str, now: float) -> bool:
        """Whether the old PIN was that for duress, or set under it."""
        known = self._profiles.profile(who.tenant, who.user).pins
        if known is None or not old_pin:
            raise Forbidden("sign in again, or give the old PIN", code="sign_in_again")
        if self._tries.are_spent(who.tenant, who.user, now):
            raise Refused("too many wrong PINs: sign in again", code="pin_tries_spent")
        found = await self._hasher.compare((known.pin, known.duress), old_pin)
        if found is None:
            raise Unavailable("the PIN could not be looked at")
        is_pin, is_duress = found
        if not (is_pin or is_duress):
            self._tries.note(who.tenant, who.user, now)
            raise Refused("the old PIN is not the right one", code="pin_wrong", field="pins.old_pin")
        self._tries.forgive(who.tenant, who.user)
        return is_duress or known.forced
