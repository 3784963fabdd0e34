from typing import Any

import pytest

from dispatch.settings import DispatchSettings, HeadStartSettings, RatingSettings, RoundSettings


@pytest.mark.parametrize(
    ("make", "facts", "text"),
    [
        (DispatchSettings, {"offer_ttl_s": 0.0}, "offer_ttl_s must be between 1 and 600, is 0"),
        (DispatchSettings, {"position_fresh_s": float("nan")}, "position_fresh_s must be between 1 and 3600, is nan"),
        (DispatchSettings, {"settled_keep_s": 3_601.0}, "settled_keep_s must be between 60 and 3600, is 3601"),
        (DispatchSettings, {"idempotency_keep_s": 86_401.0}, "idempotency_keep_s must be between 60 and 86400"),
        (RoundSettings, {"radius_steps_m": ()}, "number of steps"),
        (RoundSettings, {"radius_steps_m": (5_000.0, 3_000.0)}, "must rise"),
        (RoundSettings, {"radius_steps_m": (5.0,)}, "between 100 and 200000, is 5"),
        (HeadStartSettings, {"rating_floor": 5.0}, "rating_best must be above rating_floor"),
        (HeadStartSettings, {"tier_s": {"gold": -1.0}}, "tier_s.gold"),
        (RatingSettings, {"prior_weight": 0.0}, "prior_weight"),
    ],
)
def test_settings_out_of_range_name_the_field_and_the_range(make: Any, facts: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(**facts)
