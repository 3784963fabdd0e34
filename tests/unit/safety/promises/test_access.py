"""P24: the right to somebody's position ends with their incident, in the very turn that ends it."""

from hypothesis import given

from api.rights import Rights
from core.errors import NotFound
from core.ids import IncidentId
from core.principal import Principal
from core.shard import Shard
from safety.access import may_read
from safety.events import ReviseRights
from tests.unit.safety.neighbourhood import ACME, SH
from tests.unit.safety.promises.history import HANDLERS, OUTSIDERS, Act, Life, Turn, histories, often

SHARD = Shard(ACME, SH)
PEOPLE = (*HANDLERS, *OUTSIDERS)


def watches(rights: Rights, who: Principal, which: IncidentId, now: float) -> bool:
    try:
        grant = rights.grant(who, f"incident:{which}", now)
    except NotFound:
        return False
    assert grant.version == rights.version(f"incident:{which}")
    return True


def follow(rights: Rights, turn: Turn) -> None:
    """What the service does before it sends anything of the turn."""
    for effect in turn.effects:
        if isinstance(effect, ReviseRights):
            rights.incident_changed(effect.incident)


@often(70)
@given(histories("tap", "ack", "respond", "assign", "resolve", "resolve", "call", "right_pin", "book", "reopen"))
def test_p24_when_an_incident_ends_nobody_watches_its_subject_any_more(history: list[Act]) -> None:
    life, rights = Life(), Rights(frozenset({SHARD}))
    for act in history:
        held = {
            (who, which): rights.version(f"incident:{which}")
            for which in life.incidents
            for who in PEOPLE
            if watches(rights, who, which, life.now)
        }
        for turn in life.do(act):
            follow(rights, turn)
        for which, incident in life.incidents.items():
            for who in PEOPLE:
                may = incident.is_active and may_read(incident, who) and not who.restricted
                assert watches(rights, who, which, life.now) == may, (who.user, incident.state)
                version = held.get((who, which))
                if version is not None and not may:
                    # A running grant is compared with the version at each send: a position is not sent under this one.
                    assert rights.version(f"incident:{which}") != version
