import asyncio
import time

import pytest

from safety.settings import PinSettings
from server.pin_hasher import Argon2Pins

QUICK = PinSettings(memory_kib=8, passes=1)


async def test_hashes_are_argon2id_and_know_their_pin() -> None:
    pins = Argon2Pins(QUICK)
    pin, duress = await pins.hash("4821"), await pins.hash("8350")
    assert pin.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert pin != await pins.hash("4821")
    assert await pins.compare((pin, duress), "4821") == (True, False)
    assert await pins.compare((pin, duress), "8350") == (False, True)
    assert await pins.compare((pin, duress), "1111") == (False, False)
    assert await pins.compare(None, "4821") == (False, False)
    assert await pins.compare(("damaged", duress), "8350") == (False, True)
    pins.close()


@pytest.mark.slow
async def test_the_loop_goes_on_while_pins_are_hashed_and_nobodys_take_as_long() -> None:
    pins = Argon2Pins(PinSettings())
    hashes = (await pins.hash("4821"), await pins.hash("8350"))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    task = asyncio.get_running_loop().create_task(count())
    await pins.compare(None, "4821")  # makes nobody's hashes
    took_s = []
    for kept in (hashes, None, hashes, None):
        began = time.perf_counter()
        await pins.compare(kept, "4821")
        took_s.append(time.perf_counter() - began)
    task.cancel()
    assert turns > 10
    assert 0.5 < min(took_s[1::2]) / min(took_s[::2]) < 2.0
    pins.close()
