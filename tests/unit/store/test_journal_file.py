"""The emergency journal's file: what was appended is there after whatever happened to it, and damage is told."""

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from store.journal_file import BLOCK_BYTES, MIB, JournalFile, JournalFull, RewriteLost

SMALL = 30 * BLOCK_BYTES
"""Two halves of 14 blocks."""
HALF_BYTES = 14 * BLOCK_BYTES
DATA_AT = 2 * BLOCK_BYTES + HALF_BYTES
"""Of the first generation."""


def opened(path: Path, size: int = SMALL) -> JournalFile:
    return JournalFile(path, size)


def held(path: Path) -> tuple[list[bytes], str]:
    file = opened(path)
    file.close()
    return file.payloads, file.damage


def filled(path: Path, *payloads: bytes) -> None:
    file = opened(path)
    for payload in payloads:
        file.append(payload)
    file.close()


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    payloads = [b"a", b"b" * 5000, b"", b"c" * BLOCK_BYTES]
    filled(tmp_path / "j", *payloads)
    assert held(tmp_path / "j") == (payloads, "")


def test_a_new_one_takes_its_space_at_once(tmp_path: Path) -> None:
    opened(tmp_path / "j", MIB).close()
    found = (tmp_path / "j").stat()
    assert (found.st_size, found.st_blocks * 512 >= MIB) == (MIB, True)


def test_it_goes_on_behind_what_it_holds(tmp_path: Path) -> None:
    filled(tmp_path / "j", b"a")
    filled(tmp_path / "j", b"b")
    assert held(tmp_path / "j") == ([b"a", b"b"], "")


def test_cleared_it_holds_nothing_and_what_lies_there_is_no_damage(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    for payload in (b"a" * 9000, b"b" * 9000):
        file.append(payload)
    file.clear()
    assert file.held_bytes == 0
    file.close()
    assert held(tmp_path / "j") == ([], "")
    filled(tmp_path / "j", b"c")
    assert held(tmp_path / "j") == ([b"c"], "")


def test_many_generations(tmp_path: Path) -> None:
    rng = random.Random(5)
    wanted: list[bytes] = []
    for _ in range(25):
        file = opened(tmp_path / "j")
        assert (file.payloads, file.damage) == (wanted, "")
        if rng.random() < 0.6:
            file.clear()
            wanted = []
        try:
            for _ in range(rng.randrange(4)):
                payload = rng.randbytes(rng.randrange(9000))
                file.append(payload)
                wanted = [*wanted, payload]
        except JournalFull:
            pass
        file.close()


def test_full_it_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    for _ in range(14):
        file.append(b"x")
    with pytest.raises(JournalFull):
        file.append(b"x")
    file.close()
    assert held(tmp_path / "j") == ([b"x"] * 14, "")


@pytest.mark.parametrize("kept", [0, 1, 511, 4096, 8000])
def test_of_a_torn_tail_nothing_is_believed_and_what_came_before_is(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "j"
    filled(path, b"first", b"y" * 9000)
    content = path.read_bytes()
    tail_at = DATA_AT + BLOCK_BYTES
    path.write_bytes(content[: tail_at + kept] + bytes(len(content) - tail_at - kept))
    payloads, damage = held(path)
    assert payloads == [b"first"]
    assert bool(damage) == (kept > 0), damage


def test_any_flipped_bit_costs_its_own_turn_only_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "j"
    payloads = [bytes([n]) * (3000 * n) for n in (1, 2, 3)]
    filled(path, *payloads)
    sound = path.read_bytes()
    rng = random.Random(1)
    ends = [DATA_AT, DATA_AT + BLOCK_BYTES, DATA_AT + 3 * BLOCK_BYTES, DATA_AT + 6 * BLOCK_BYTES]
    lengths = [32 + len(p) for p in payloads]
    for which in range(3):
        for _ in range(12):
            damaged = bytearray(sound)
            damaged[ends[which] + rng.randrange(lengths[which])] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            found, damage = held(path)
            assert damage
            assert found == [p for n, p in enumerate(payloads) if n != which]


@pytest.mark.parametrize("slot", [0, 1])
def test_with_a_damaged_header_nothing_that_is_held_is_lost(tmp_path: Path, slot: int) -> None:
    path = tmp_path / "j"
    file = opened(path)
    file.append(b"old")
    file.clear()
    file.append(b"new")
    file.close()
    overwrite(path, slot * BLOCK_BYTES + 9, b"\xff")
    payloads, damage = held(path)
    assert payloads[-1] == b"new", "what came before it is stored already, and does no harm"
    assert "header" in damage


def test_after_damage_it_takes_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path, b"a", b"b")
    overwrite(path, DATA_AT + 32, b"\xff")
    overwrite(path, DATA_AT + BLOCK_BYTES + 32, b"\xff")
    filled(path, b"c")
    payloads, damage = held(path)
    assert payloads == [b"c"]
    assert damage
    file = opened(path)
    file.clear()
    file.close()
    assert held(path) == ([], "")


def test_it_belongs_to_one_process(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    with pytest.raises(BlockingIOError):
        opened(tmp_path / "j")
    file.close()
    opened(tmp_path / "j").close()


def test_a_smaller_one_grows_once_it_holds_nothing_and_a_larger_one_stays(tmp_path: Path) -> None:
    filled(tmp_path / "j", b"a")
    file = opened(tmp_path / "j", 2 * SMALL)
    assert (file.payloads, file.size_bytes) == ([b"a"], HALF_BYTES)
    file.clear()
    file.close()
    file = opened(tmp_path / "j", 2 * SMALL)
    assert (file.payloads, file.damage, file.size_bytes) == ([], "", 29 * BLOCK_BYTES)
    file.append(b"b")
    file.close()
    assert held(tmp_path / "j") == ([b"b"], "")
    assert (tmp_path / "j").stat().st_size == 2 * SMALL


def test_what_is_kept_for_alarms_only_they_may_fill(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    for _ in range(10):
        file.append(b"x", leave_bytes=4 * BLOCK_BYTES)
    with pytest.raises(JournalFull):
        file.append(b"x", leave_bytes=4 * BLOCK_BYTES)
    for _ in range(4):
        file.append(b"x")
    file.close()


# -- rewriting ------------------------------------------------------------------------------------------


def rewritten(file: JournalFile, *payloads: bytes) -> None:
    file.rewrite_begin()
    for payload in payloads:
        file.rewrite(payload)
    file.rewrite_end()


def test_rewritten_it_holds_what_it_was_given_and_what_came_meanwhile(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    for payload in (b"a", b"b", b"c"):
        file.append(payload)
    file.rewrite_begin()
    file.rewrite(b"abc")
    file.append(b"d")
    assert held_of_a_copy(tmp_path) == ([b"a", b"b", b"c", b"d"], "")
    file.rewrite_end()
    file.append(b"e")
    assert file.held_bytes == 3 * BLOCK_BYTES
    file.close()
    assert held(tmp_path / "j") == ([b"abc", b"d", b"e"], "")


def held_of_a_copy(tmp_path: Path) -> tuple[list[bytes], str]:
    (tmp_path / "copy").write_bytes((tmp_path / "j").read_bytes())
    return held(tmp_path / "copy")


def test_what_does_not_fit_leaves_everything_as_it_was(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    file.append(b"a")
    with pytest.raises(JournalFull):
        rewritten(file, b"x" * HALF_BYTES)
    file.append(b"b")
    rewritten(file, b"ab")
    file.close()
    assert held(tmp_path / "j") == ([b"ab"], "")


def test_of_a_rewriting_that_came_to_nothing_nothing_is_ever_read(tmp_path: Path) -> None:
    for again in range(4):
        file = opened(tmp_path / "j")
        file.append(b"%d" % again)
        file.rewrite_begin()
        for n in range(6 - again):
            file.rewrite(b"lost %d" % n)
        file.close()
    file = opened(tmp_path / "j")
    assert (file.payloads, file.damage) == ([b"0", b"1", b"2", b"3"], "")
    rewritten(file, b"0123")
    file.close()
    assert held(tmp_path / "j") == ([b"0123"], "")


def test_cleared_meanwhile_a_rewriting_is_lost(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    file.append(b"a")
    file.rewrite_begin()
    file.rewrite(b"a")
    file.clear()
    with pytest.raises(RewriteLost):
        file.rewrite(b"b")
    with pytest.raises(RewriteLost):
        file.rewrite_end()
    file.append(b"c")
    file.close()
    assert held(tmp_path / "j") == ([b"c"], "")


def test_with_a_header_lost_both_halves_are_read_and_neither_is_rewritten(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    file.append(b"a")
    rewritten(file, b"A")
    file.append(b"b")
    file.close()
    overwrite(tmp_path / "j", 9, b"\xff")  # the header of what counts
    file = opened(tmp_path / "j")
    assert (file.payloads, file.is_mixed) == ([b"a", b"A", b"b"], True)
    file.append(b"c")
    with pytest.raises(RewriteLost):
        file.rewrite_begin()
    file.close()
    file = opened(tmp_path / "j")
    assert file.payloads == [b"a", b"A", b"b", b"c"]
    file.clear()
    file.close()
    file = opened(tmp_path / "j")
    rewritten(file, b"x")
    file.close()
    assert held(tmp_path / "j") == ([b"x"], "")


class Killed(BaseException):
    """The process ends here."""


def a_life(file: JournalFile, promised: Callable[[bytes], None], *, goes_on: bool) -> None:
    """Turns, each a letter, two rewritings and a clear; what rewritings write says what came before them."""

    def does(step: Callable[[], None]) -> bool:
        try:
            step()
        except (OSError, RewriteLost):
            assert goes_on
            return False
        return True

    said = bytearray()

    def append(letters: bytes) -> None:
        for letter in letters:
            if does(lambda letter=letter: file.append(bytes([letter]))):  # type: ignore[misc]
                promised(bytes([letter]))
            said.append(letter)  # what the journal refused is in memory, and in what is rewritten next

    def rewrite(meanwhile: bytes) -> None:
        so_far = bytes(said)
        if not does(file.rewrite_begin):
            return
        is_sound = does(lambda: file.rewrite(so_far[:2])) and does(lambda: file.rewrite(so_far[2:] * 900))
        append(meanwhile)
        if is_sound and does(file.rewrite_end):
            promised(so_far)

    append(b"abc")
    rewrite(b"d")
    append(b"e")
    rewrite(b"fg")
    append(b"h")


WRITES_OF_A_LIFE = 17
HOWS = ("not at all", "half", "wholly")


def fail_at(
    monkeypatch: pytest.MonkeyPatch, which: int, how: str, error: Callable[[], BaseException]
) -> Callable[[], int]:
    """Let one write fail after it has done nothing, half of it, or all of it; how many there were."""
    real, count = os.pwrite, 0

    def write(file: int, data: bytes, at: int) -> int:
        nonlocal count
        count += 1
        if count - 1 == which:
            done = {"not at all": 0, "half": len(data) // 2 // 512 * 512, "wholly": len(data)}[how]
            real(file, data[:done], at)
            raise error()
        return real(file, data, at)

    monkeypatch.setattr(os, "pwrite", write)
    return lambda: count


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("which", range(WRITES_OF_A_LIFE))
def test_killed_at_any_write_of_a_rewriting_everything_promised_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int, how: str
) -> None:
    file = opened(tmp_path / "j")
    kept = bytearray()
    with monkeypatch.context() as patch:
        fail_at(patch, which, how, Killed)
        with contextlib.suppress(Killed):
            a_life(file, kept.extend, goes_on=False)
        file.close()
    file = opened(tmp_path / "j")
    assert set(b"".join(file.payloads)) >= set(kept)
    file.append(b"z")
    rewritten(file, b"".join(file.payloads) + b"z")
    file.close()
    assert set(b"".join(held(tmp_path / "j")[0])) >= {*kept, *b"z"}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("which", range(WRITES_OF_A_LIFE))
def test_a_disk_that_fails_once_at_any_write_breaks_no_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int, how: str
) -> None:
    file = opened(tmp_path / "j")
    kept = bytearray()
    with monkeypatch.context() as patch:
        count = fail_at(patch, which, how, lambda: OSError(5, "Input/output error"))
        a_life(file, kept.extend, goes_on=True)
        assert which < count(), "there are fewer writes than the test names"
    file.close()
    assert len(set(kept)) >= 7, "one failure costs one turn"
    assert set(b"".join(held(tmp_path / "j")[0])) >= set(kept)


def test_a_life_has_as_many_writes_as_are_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path / "j")
    count = fail_at(monkeypatch, -1, "not at all", Killed)
    a_life(file, lambda _: None, goes_on=False)
    file.close()
    assert count() == WRITES_OF_A_LIFE
