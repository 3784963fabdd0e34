"""One-time codes for signing in: short enough to be read out, used once, soon over, guessed by nobody. Synchronous.

Ten signs of 31 are 49 bits: by 5,000 wrong tries in ten minutes, with ten thousand codes waiting all the time, one is
met by chance in three hundred years. Only hashes are kept, in memory: a restart ends them.
"""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from api.limits import Guesses
from api.settings import SignInSettings
from core.browser_session import Grant
from core.errors import Refused, Unavailable
from core.ids import IdSource, TenantId, UserId

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without 0, O, 1, I and L, which are mistaken for each other; 31 signs."""
CODE_LEN: Final = 10
TYPED_LEN_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class _Waiting:
    grant: Grant
    expires_at: float


class SignInCodes:
    """Codes that wait to be used. Bounds: ``codes_max``; one for each person, the newest."""

    def __init__(self, settings: SignInSettings, ids: IdSource) -> None:
        self._settings = settings
        self._ids = ids
        self._guesses = Guesses(settings)
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        """By hash, the oldest first."""
        self._of: dict[tuple[TenantId, UserId], str] = {}

    def make(self, grant: Grant, now: float) -> tuple[str, float]:
        """A code as it is read out, and when it ends. An older one of the same person is good no more.

        Raises:
            Unavailable: ``overloaded``.
        """
        self._forget_old(now)
        before = self._of.get((grant.tenant, grant.user))
        if before is not None:
            self._take(before)
        if len(self._waiting) >= self._settings.codes_max:
            raise Unavailable("too many unused codes", code="overloaded")
        signs = _signs(self._ids.new(""))
        self._put(_hashed(signs), _Waiting(grant, now + self._settings.code_life_s))
        return f"{signs[: CODE_LEN // 2]}-{signs[CODE_LEN // 2 :]}", now + self._settings.code_life_s

    def use(self, typed: str, peer: str, now: float) -> Grant:
        """Use up a code.

        Args:
            typed: As somebody typed it: case, blanks and hyphens do not matter.
            peer: Who tries, for the limit.

        Raises:
            Refused: ``code_invalid``: unknown, used or too old, which look the same.
            Unavailable: ``rate_limited``: too many wrong ones before.
        """
        self._guesses.check(peer, now)
        self._forget_old(now)
        key = _hashed("".join(typed[:TYPED_LEN_MAX].upper().replace("-", " ").split()))
        if key not in self._waiting:
            self._guesses.wrong(peer, now)
            raise Refused("the code is unknown, was used or is too old", code="code_invalid")
        return self._take(key).grant

    def __len__(self) -> int:
        """Codes that wait."""
        return len(self._waiting)

    def _forget_old(self, now: float) -> None:
        while self._waiting:
            key, waiting = next(iter(self._waiting.items()))
            if waiting.expires_at > now:
                return
            self._take(key)

    def _put(self, key: str, waiting: _Waiting) -> None:
        self._waiting[key] = waiting
        self._of[waiting.grant.tenant, waiting.grant.user] = key

    def _take(self, key: str) -> _Waiting:
        waiting = self._waiting.pop(key)
        del self._of[waiting.grant.tenant, waiting.grant.user]
        return waiting


def _signs(random: str) -> str:
    """Signs of the alphabet out of at least 96 random bits; the modulus favours none by more than 1 in 10**60."""
    number = int.from_bytes(sha256(random.encode()).digest(), "big")
    signs = []
    for _ in range(CODE_LEN):
        number, digit = divmod(number, len(ALPHABET))
        signs.append(ALPHABET[digit])
    return "".join(signs)


def _hashed(signs: str) -> str:
    return sha256(signs.encode("utf-8", "replace")).hexdigest()
