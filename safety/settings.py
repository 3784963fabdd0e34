"""Safety's part of the configuration: the ladder, its timers, its bounds."""

from dataclasses import dataclass, field
from typing import Annotated

from core.ranges import Range, Ranged, check_ranges
from safety.care_settings import CareSettings
from safety.reach import ReachSettings


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What is remembered for good, so that nobody can change it unseen."""

    key_env: str = "DOORSTEP_AUDIT_KEY"
    """Environment variable with the secret of the audit's chain: at least 32 bytes, never kept beside the database.
    Several lines are several keys; the first signs, all are good for checking."""

    key_file: str = ""
    """File with it instead; then key_env must be empty."""

    anchor_file: str = ""
    """File to which the chain's newest value is added, signed, as a line of JSON: on another disk or machine, for it
    is what shows that the end of the audit was cut off. Empty: beside the data folder, with `-anchors.jsonl`."""

    anchor_every_s: Annotated[float, Range(1, 300)] = 60.0
    """Seconds between two anchors, when there is something new."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_ranges(self)
        if bool(self.key_env) == bool(self.key_file):
            raise ValueError("give either key_env or key_file, the other empty")


@dataclass(frozen=True, slots=True)
class JournalSettings(Ranged):
    """The emergency journal: where an SOS is written when the database does not take it."""

    folder: str = ""
    """Folder of the journal; empty: the data folder. Name one on another disk: the first may be what fails."""

    size_mib: Annotated[int, Range(1, 256)] = 32
    """Size of the journal, MiB, taken from the disk at the first start. One half is in use; once that is half full,
    it is rewritten into the other in less space."""

    alarms_share: Annotated[float, Range(0, 0.9)] = 0.25
    """Share of the half in use that only new alarms and further taps may fill, not the calls and answers after them."""

    reserve_mib: Annotated[int, Range(0, 4_096)] = 64
    """Space in the data folder that is held back, MiB, and given to safety when the disk is full; positions are dropped
    while less than a quarter of it is free. 0 for none."""

    wait_s: Annotated[float, Range(0.01, 10)] = 0.2
    """Seconds to wait for the journal, after `safety.commit_wait_s`, until an SOS is answered as not durable."""


@dataclass(frozen=True)
class PinSettings(Ranged):
    """The PIN that calls an alarm off, and the one that only seems to."""

    memory_kib: Annotated[int, Range(8, 1_048_576)] = 19_456
    """Memory that one look at a PIN takes (Argon2id), KiB; lower makes stolen hashes cheaper to guess."""

    passes: Annotated[int, Range(1, 100)] = 2
    """Passes over that memory."""

    tries_max: Annotated[int, Range(1, 10)] = 3
    """Wrong PINs of one person within tries_window_s; from the last of them on every answer is as for the right one,
    and the incident is one under duress."""

    tries_window_s: Annotated[float, Range(60, 604_800)] = 3_600.0
    """Seconds for which a wrong PIN is remembered."""

    answer_after_s: Annotated[float, Range(0.01, 10)] = 0.5
    """Seconds after which a PIN is answered, whatever the answer (a slower one after the next whole multiple)."""

    fresh_token_s: Annotated[float, Range(10, 3_600)] = 600.0
    """Seconds since its beginning in which a token alone is enough to set new PINs; later the old one is needed."""


@dataclass(frozen=True)
class SafetySettings(Ranged):
    """How an incident spreads until a human takes it.

    There is no setting that mutes, limits or delays an SOS, and none that ends an incident by itself.
    """

    level_1_after_s: Annotated[float, Range(1, 3_600)] = 30.0
    """Seconds without a human acknowledgement until more responders are told (NENA-STA-020: 95 % within 20 s)."""

    level_2_after_s: Annotated[float, Range("level_1_after_s", 3_600)] = 60.0
    """Seconds since the tap until ops of all cities are told as well."""

    level_3_after_s: Annotated[float, Range("level_2_after_s", 3_600)] = 120.0
    """Seconds since the tap until every responder and every ops user of the tenant is told."""

    repeat_s: Annotated[float, Range(5, 3_600)] = 60.0
    """Seconds between repeats to everyone told so far, without limit, until a human acknowledges."""

    unreached_repeat_s: Annotated[float, Range(1, 60)] = 5.0
    """Seconds until the next attempt when nobody at all could be told."""

    abort_window_s: Annotated[float, Range(0, 30)] = 5.0
    """Seconds after a tap in which only hops that cost money or cannot be taken back wait; people are told at once."""

    ack_stale_s: Annotated[float, Range(10, 3_600)] = 180.0
    """Seconds after which an acknowledgement without any action of its owner no longer counts; on the scene ops are
    asked then, and after as long again without a word of anybody there or of ops it is open again."""

    gentle_s: Annotated[float, Range(0, 3_600)] = 300.0
    """Seconds in which only ops of the city are told of somebody's silence; then it is rung like a tap."""

    late_s: Annotated[float, Range(60, 86_400)] = 1_800.0
    """Seconds that a tap may have waited in the phone before it counts as unconfirmed; it is rung like any other."""

    look_s: Annotated[float, Range(1, 60)] = 15.0
    """Seconds between looks at an acknowledged incident's owner and at those on their way."""

    assign_within_s: Annotated[float, Range(10, 3_600)] = 60.0
    """Seconds from the acknowledgement until somebody must be on the way; then the next level is told."""

    owner_offline_s: Annotated[float, Range(10, 600)] = 60.0
    """Seconds without a connection after which an owner who had one no longer counts."""

    responder_slots: Annotated[int, Range(1, 20)] = 2
    """Responders who go to one incident by their own word; ops may send more."""

    offer_ttl_s: Annotated[float, Range(5, 3_600)] = 20.0
    """Seconds that a responder has for an answer until the next nearest are asked as well."""

    offers_parallel: Annotated[int, Range(1, 20)] = 5
    """Responders who are asked at once."""

    stall_fix_s: Annotated[float, Range(20, 600)] = 60.0
    """Seconds without a newer position after which a responder on the way counts as stalled."""

    stall_nearer_s: Annotated[float, Range(30, 3_600)] = 180.0
    """Seconds without coming nearer after which a responder on the way counts as stalled."""

    arrival_m: Annotated[float, Range(10, 2_000)] = 100.0
    """Metres from the subject within which a responder is asked whether they have arrived."""

    arrival_believed_m: Annotated[float, Range("arrival_m", 5_000)] = 200.0
    """Metres from the subject within which a responder's own word that they are there is enough; the 95 % radius of
    either position is added, each up to this again. Else ops have to confirm it."""

    arrival_fix_s: Annotated[float, Range(10, 600)] = 120.0
    """Seconds after which a responder's last position no longer shows that they are there."""

    cancel_verify_s: Annotated[float, Range(30, 3_600)] = 300.0
    """Seconds until a cancel that ops have not verified no longer counts."""

    call_back_s: Annotated[float, Range(10, 600)] = 60.0
    """Seconds after a cancel within which somebody has to call the subject."""

    reopen_s: Annotated[float, Range(0, 86_400)] = 1_800.0
    """Seconds after its end in which a tap or ops open the same incident again."""

    close_by_other: bool = True
    """Whether an incident is closed by another person than the one who resolved it (duress always is)."""

    responder_mps: Annotated[float, Range(0.5, 60)] = 5.0
    """Metres per second, as the crow flies, by which it is judged who would be there first; rather too slow."""

    responders_level_0: Annotated[int, Range(1, 100)] = 5
    """Nearest responders told at once."""

    responders_level_1: Annotated[int, Range("responders_level_0", 1_000)] = 15
    """Nearest responders told from level 1 on."""

    responders_level_2: Annotated[int, Range("responders_level_1", 1_000)] = 40
    """Nearest responders told from level 2 on."""

    responders_level_3: Annotated[int, Range("responders_level_2", 10_000)] = 500
    """Responders of all cities told from level 3 on."""

    burst_taps: Annotated[int, Range(2, 100)] = 3
    """Taps within burst_window_s that raise the level by one."""

    burst_window_s: Annotated[float, Range(1, 600)] = 10.0
    """Seconds within which taps count as one burst."""

    retap_quiet_s: Annotated[float, Range(0, 60)] = 2.0
    """Seconds between repeats caused by further taps; taps between them are counted and told with the next."""

    taps_waiting_max: Annotated[int, Range(1, 1_000)] = 8
    """Taps of one person that wait one by one; further ones are counted and told together with the last of them."""

    triggers_kept_max: Annotated[int, Range(10, 100_000)] = 1_000
    """Taps of one incident that are kept one by one; further ones are only counted."""

    key_repeat_s: Annotated[float, Range(0, 86_400)] = 600.0
    """Seconds after a tap during which its key finds its incident when that has ended; later it is a new SOS.

    Unless it says by `tapped_at` that it is the same tap, offered again.
    """

    resolved_kept_s: Annotated[float, Range(60, 31_622_400)] = 86_400.0
    """Seconds after its end during which an incident is kept in memory."""

    commit_wait_s: Annotated[float, Range(0.01, 10)] = 0.3
    """Seconds to wait for the disk before the alarm goes out undurably (the write goes on and is told when done)."""

    retry_min_s: Annotated[float, Range(0.01, 10)] = 0.1
    """Seconds until the first new attempt of a failed write; doubles up to retry_max_s."""

    retry_max_s: Annotated[float, Range("retry_min_s", 60)] = 5.0
    """Longest wait between attempts of a failed write, seconds."""

    unstored_turns_max: Annotated[int, Range(1, 100_000)] = 64
    """Turns that wait for a failing disk one by one; then the changes of each incident are joined."""

    stop_wait_s: Annotated[float, Range(0, 600)] = 5.0
    """Seconds that a stopping server still tries to store what is not stored yet."""

    mailbox_len_max: Annotated[int, Range(10, 10_000_000)] = 10_000
    """Requests that may wait (an SOS always fits)."""

    batch_len_max: Annotated[int, Range(1, 10_000)] = 64
    """Requests that share one transaction."""

    journal: JournalSettings = field(default_factory=JournalSettings)
    """The emergency journal: where an SOS is written when the database does not take it."""
    pins: PinSettings = field(default_factory=PinSettings)
    """The PIN that calls an alarm off, and the one that only seems to."""
    hold_days: Annotated[float, Range(0, 3_660)] = 180.0
    """Days after its end for which an incident's positions and those of its order are not deleted, and for which that
    order is not confirmed, settled or taken away by itself."""

    trail_before_s: Annotated[float, Range(0, 120)] = 60.0
    """Seconds of the raiser's way before the tap that are kept with the incident; memory holds positions.recent_s."""

    trail_fast_s: Annotated[float, Range(0, 86_400)] = 600.0
    """Seconds after the last tap during which the phone reports as realtime.attention.sos says; then as sos_late."""

    trail_after_cancel_s: Annotated[float, Range(0, 86_400)] = 1_800.0
    """Seconds after a PIN was taken for which the phone is asked as before, whatever the PIN was and what becomes of
    the incident. What comes after its end is not kept; what comes later than this, before its end, is kept unsaid."""

    contact_lost_s: Annotated[float, Range(5, 600)] = 20.0
    """Seconds of silence of the raiser's phone after which those who were told hear that contact is lost."""

    audit: AuditSettings = field(default_factory=AuditSettings)
    """The audit and its anchors."""
    reach: ReachSettings = field(default_factory=ReachSettings)
    """Channels beside the hub. Each is optional, but one of them must reach `last_resort`."""
    care: CareSettings = field(default_factory=CareSettings)
    """The care for people at work: check-ins, drills, shared trips."""
