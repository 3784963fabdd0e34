"""Safety's part of the configuration: the ladder, its timers, its bounds."""

from dataclasses import dataclass


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, is {value:g}")


@dataclass(frozen=True)
class SafetySettings:
    """How an incident spreads until a human takes it.

    There is no setting that mutes, limits or delays an SOS, and none that ends an incident by itself.
    """

    level_1_after_s: float = 30.0
    """Seconds without a human acknowledgement until more responders are told (NENA-STA-020: 95 % within 20 s)."""

    level_2_after_s: float = 60.0
    """Seconds since the tap until ops of all cities are told as well."""

    level_3_after_s: float = 120.0
    """Seconds since the tap until every responder and every ops user of the tenant is told."""

    repeat_s: float = 60.0
    """Seconds between repeats to everyone told so far, without limit, until a human acknowledges."""

    unreached_repeat_s: float = 5.0
    """Seconds until the next attempt when nobody at all could be told."""

    ack_stale_s: float = 180.0
    """Seconds after which an acknowledgement without any action of its owner no longer counts."""

    responders_level_0: int = 5
    """Nearest responders told at once."""

    responders_level_1: int = 15
    """Nearest responders told from level 1 on."""

    responders_level_2: int = 40
    """Nearest responders told from level 2 on."""

    responders_level_3: int = 500
    """Responders of all cities told from level 3 on."""

    burst_taps: int = 3
    """Taps within burst_window_s that raise the level by one."""

    burst_window_s: float = 10.0
    """Seconds within which taps count as one burst."""

    retap_quiet_s: float = 2.0
    """Seconds between repeats caused by further taps; taps between them are counted and told with the next."""

    taps_waiting_max: int = 8
    """Taps of one person that wait one by one; further ones are counted and told together with the last of them."""

    triggers_kept_max: int = 1_000
    """Taps of one incident that are kept one by one; further ones are only counted."""

    key_repeat_s: float = 600.0
    """Seconds after a tap during which its key still finds its incident when that has ended; later it is a new SOS."""

    resolved_kept_s: float = 86_400.0
    """Seconds after its end during which an incident is kept in memory."""

    commit_wait_s: float = 0.3
    """Seconds to wait for the disk before the alarm goes out undurably (the write goes on and is told when done)."""

    retry_min_s: float = 0.1
    """Seconds until the first new attempt of a failed write; doubles up to retry_max_s."""

    retry_max_s: float = 5.0
    """Longest wait between attempts of a failed write, seconds."""

    unstored_turns_max: int = 64
    """Turns that wait for a failing disk one by one; then the changes of each incident are joined."""

    stop_wait_s: float = 5.0
    """Seconds that a stopping server still tries to store what is not stored yet."""

    mailbox_len_max: int = 10_000
    """Requests that may wait (an SOS always fits)."""

    batch_len_max: int = 64
    """Requests that share one transaction."""

    def __post_init__(self) -> None:
        """Refuse a ladder that would stand still."""
        _within("level_1_after_s", self.level_1_after_s, 1, 3_600)
        _within("level_2_after_s", self.level_2_after_s, self.level_1_after_s, 3_600)
        _within("level_3_after_s", self.level_3_after_s, self.level_2_after_s, 3_600)
        _within("repeat_s", self.repeat_s, 5, 3_600)
        _within("unreached_repeat_s", self.unreached_repeat_s, 1, 60)
        _within("ack_stale_s", self.ack_stale_s, 10, 3_600)
        _within("responders_level_0", self.responders_level_0, 1, 100)
        _within("responders_level_1", self.responders_level_1, self.responders_level_0, 1_000)
        _within("responders_level_2", self.responders_level_2, self.responders_level_1, 1_000)
        _within("responders_level_3", self.responders_level_3, self.responders_level_2, 10_000)
        _within("burst_taps", self.burst_taps, 2, 100)
        _within("burst_window_s", self.burst_window_s, 1, 600)
        _within("retap_quiet_s", self.retap_quiet_s, 0, 60)
        _within("taps_waiting_max", self.taps_waiting_max, 1, 1_000)
        _within("triggers_kept_max", self.triggers_kept_max, 10, 100_000)
        _within("key_repeat_s", self.key_repeat_s, 0, 86_400)
        _within("resolved_kept_s", self.resolved_kept_s, 60, 31_622_400)
        _within("commit_wait_s", self.commit_wait_s, 0.01, 10)
        _within("retry_min_s", self.retry_min_s, 0.01, 10)
        _within("retry_max_s", self.retry_max_s, self.retry_min_s, 60)
        _within("unstored_turns_max", self.unstored_turns_max, 1, 100_000)
        _within("stop_wait_s", self.stop_wait_s, 0, 600)
        _within("mailbox_len_max", self.mailbox_len_max, 10, 10_000_000)
        _within("batch_len_max", self.batch_len_max, 1, 10_000)
