from math import inf
from random import Random

from core.ids import UserId
from dispatch.endings import Endings


def test_whose_service_ends_soon_is_found_in_order_of_time() -> None:
    endings = Endings()
    for name, at in (("late", 900.0), ("soon", 20.0), ("over", -inf), ("now", 0.0)):
        endings.set(UserId(name), at)
    assert endings.within(0.0, 0.0) == ["over", "now"]
    assert endings.within(15.0, 5.0) == ["over", "now", "soon"]
    assert endings.within(899.9, 0.0) == ["over", "now", "soon"]
    endings.set(UserId("now"), 950.0)
    endings.drop(UserId("over"))
    endings.drop(UserId("over"))
    assert endings.within(1000.0, 0.0) == ["soon", "late", "now"]


def test_many_changes_leave_what_was_set_last() -> None:
    rng, endings, expected = Random(7), Endings(), dict[UserId, float]()
    for _ in range(3_000):
        user, at = UserId(f"t{rng.randrange(40)}"), float(rng.randrange(12))
        if rng.random() < 0.3:
            endings.drop(user)
            expected.pop(user, None)
        else:
            endings.set(user, at)
            expected[user] = at
        limit = float(rng.randrange(12))
        soon = sorted((end, name) for name, end in expected.items() if end <= limit)
        assert endings.within(limit, 0.0) == [name for _, name in soon]
    assert endings.all() == expected
