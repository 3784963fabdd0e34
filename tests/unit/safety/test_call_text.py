from dataclasses import replace

import pytest

from safety.call_text import CallFacts, Language, Place, call_text

ALL = CallFacts(
    incident="inc_1",
    name="王芳",
    phone="13800000001",
    role="technician",
    raised="2026-11-23 21:05:09 (Asia/Shanghai)",
    order="ord_7",
    city="shenzhen",
    address="深南大道 1 号",
    unit="7B",
    entrance_note="gate code 42, second lift",
    place=Place(22.5431, 114.0579, 42.0, 16.2, "live"),
    other_name="李雷",
    other_role="customer",
    other_is_verified=False,
    note="he locked the door",
)
NOTHING = CallFacts("inc_1", "", "", "technician", "2026-11-23 21:05:09 (UTC)")


def test_everything_that_is_asked_for_is_there_in_english() -> None:
    assert call_text(ALL, Language.EN).splitlines() == [
        "I am calling for somebody who needs help. Incident inc_1.",
        "Booked address: 深南大道 1 号, 7B.",
        "Entrance: gate code 42, second lift.",
        "City: shenzhen.",
        "Position: 22.543100, 114.057900 (WGS-84), within 16 m, 42 s ago; live position.",
        "Person: 王芳, technician.",
        "Phone: 13800000001.",
        "Called for help: 2026-11-23 21:05:09 (Asia/Shanghai).",
        "Order: ord_7.",
        "Other person of the booking: 李雷 (name not verified), customer.",
        "They wrote: he locked the door",
    ]


def test_everything_that_is_asked_for_is_there_in_chinese() -> None:
    assert call_text(ALL, Language.ZH).splitlines() == [
        "我替一位需要帮助的人报警。事件编号:inc_1。",
        "预约地址:深南大道 1 号7B。",
        "入口说明:gate code 42, second lift。",
        "城市:shenzhen。",
        "位置:22.543100, 114.057900(WGS-84),误差 16 米以内,42 秒前,实时定位。",
        "当事人:王芳,服务人员。",
        "电话:13800000001。",
        "求救时间:2026-11-23 21:05:09 (Asia/Shanghai)。",
        "订单号:ord_7。",
        "订单另一方:李雷(未实名),客户。",
        "当事人留言:he locked the door",
    ]


@pytest.mark.parametrize("language", Language)
def test_what_is_not_known_is_said_to_be_unknown_where_it_is_asked_for(language: Language) -> None:
    unknown = "not known" if language is Language.EN else "不详"
    lines = call_text(NOTHING, language).splitlines()
    assert sum(unknown in line for line in lines) == 4  # address, position, name, phone
    assert len(lines) == 6


def test_a_booked_address_is_never_called_a_measurement() -> None:
    booked = replace(ALL, place=Place(22.5, 114.0, 0.0, None, "booked_address"))
    assert "the booked address, not a measurement" in call_text(booked, Language.EN)
    assert "预约地址,非定位" in call_text(booked, Language.ZH)
    assert "accuracy not known" in call_text(booked, Language.EN)
