from dataclasses import replace

import pytest

from core.errors import Refused
from core.ids import DeviceId
from server.sos_passes import make_pass, pass_keys, read_pass
from tests.contract.store_values import NOW, make_principal

KEYS = pass_keys([b"old secret", b"new secret"], b"spare")
DEVICE = DeviceId("page-1")


def test_a_pass_says_who_it_is_and_that_they_may_do_nothing_else() -> None:
    who = replace(make_principal(device="page-1"), sign_in="s1")
    text, expires_at = make_pass(KEYS, who, "sop_1", NOW, 60.0)
    read = read_pass(KEYS, text, DEVICE, NOW + 59)
    wanted = replace(who, restricted=True, token_id="sop_1", issued_at=NOW, expires_at=expires_at)
    assert (read, expires_at) == (wanted, NOW + 60)
    assert read.is_on_page


def test_passes_outlive_a_restart_and_a_rotation_but_not_their_secret() -> None:
    text, _ = make_pass(KEYS, make_principal(), "sop_1", NOW, 60.0)
    for secrets in ([b"old secret", b"new secret"], [b"new secret", b"old secret"]):
        assert read_pass(pass_keys(secrets, b"another spare"), text, DeviceId(""), NOW).user == "tec_1"
    for keys in (pass_keys([b"new secret"], b"spare"), pass_keys([], b"spare")):
        with pytest.raises(Refused) as caught:
            read_pass(keys, text, DeviceId(""), NOW)
        assert caught.value.code == "token_invalid"


@pytest.mark.parametrize(
    ("change", "device", "later_s", "code"),
    [
        (lambda text: text, "page-1", 60.0, "token_expired"),
        (lambda text: text, "page-2", 0.0, "token_invalid"),
        (lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"), "page-1", 0.0, "token_invalid"),
        (lambda text: "sop_" + "A" + text[5:], "page-1", 0.0, "token_invalid"),
        (lambda text: "sop_", "page-1", 0.0, "token_invalid"),
        (lambda text: "sop_.", "page-1", 0.0, "token_invalid"),
        (lambda text: "sop_é.é", "page-1", 0.0, "token_invalid"),
        (lambda text: "sop_\ud800.x", "page-1", 0.0, "token_invalid"),
        (lambda text: text + "x" * 5_000, "page-1", 0.0, "token_invalid"),
    ],
)
def test_anything_else_is_refused(change: object, device: str, later_s: float, code: str) -> None:
    text, _ = make_pass(KEYS, make_principal(device="page-1"), "sop_1", NOW, 60.0)
    with pytest.raises(Refused) as caught:
        read_pass(KEYS, change(text), DeviceId(device), NOW + later_s)  # type: ignore[operator]
    assert caught.value.code == code
