from geo.settings import PositionSettings
from geo.trail import TrailFix, live_fix, sorted_trail

SETTINGS = PositionSettings()
STEP_DEG = 0.0001  # 11 m


def fix(at: float, north: float = 0.0, *, seq: int | None = None, segment: int = 0, device: int = 1) -> TrailFix:
    return TrailFix(segment, at, int(at) if seq is None else seq, device, 22.5 + north * STEP_DEG, 114.0)


def test_an_empty_trail_has_no_live_fix() -> None:
    assert live_fix([], SETTINGS) is None


def test_a_lone_first_fix_counts() -> None:
    assert live_fix([fix(100)], SETTINGS) == fix(100)


def test_a_jump_does_not_count_until_a_second_fix_agrees() -> None:
    jump = fix(110, 10_000)
    assert live_fix([fix(100), jump], SETTINGS) == fix(100)
    agreeing = fix(120, 10_010)
    assert live_fix([fix(100), jump, agreeing], SETTINGS) == agreeing


def test_after_a_long_silence_a_jump_is_believed() -> None:
    far = fix(100 + 601, 10_000)
    assert live_fix([fix(100), far], SETTINGS) == far
    assert live_fix([fix(100), fix(100 + 600, 10_000)], SETTINGS) == fix(100)


def test_a_new_clock_segment_is_newer_whatever_its_times_say() -> None:
    stepped = fix(50, 10_000, segment=1)
    assert live_fix([fix(100), stepped], SETTINGS) == stepped


def test_a_late_fix_may_part_the_live_one_from_its_support() -> None:
    assert live_fix([fix(100), fix(110, 1)], SETTINGS) == fix(110, 1)
    assert live_fix([fix(100), fix(110, 1), fix(105, 10_000)], SETTINGS) == fix(100)


def test_two_fixes_of_one_moment_agree_only_in_one_place() -> None:
    assert live_fix([fix(100, seq=1), fix(100, seq=2)], SETTINGS) == fix(100, seq=2)
    assert live_fix([fix(100, seq=1), fix(100, 1, seq=2)], SETTINGS) == fix(100, seq=1)


def test_a_trail_holds_each_number_of_each_device_once_in_order() -> None:
    fixes = [fix(3), fix(1), fix(3), fix(3, device=2)]
    assert sorted_trail(fixes) == [fix(1), fix(3), fix(3, device=2)]
