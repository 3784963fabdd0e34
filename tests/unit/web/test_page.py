"""The first page: what it tells whom."""

from web.page import CityFacts, PageFacts, first_page

CITY = CityFacts("acme", "shenzhen", "Shenzhen", True, 17, 23)


def _page(*, is_local: bool, cities: tuple[CityFacts, ...] = (CITY,)) -> str:
    return first_page(
        PageFacts("1.0", True, 90.0, "ws://h/ws", "http://127.0.0.1:9090", "gcj02", 4711, cities, is_local)
    )


def test_on_this_machine_it_tells_tenants_numbers_and_the_admin_listener() -> None:
    page = _page(is_local=True)
    assert all(word in page for word in ("acme", ">17<", ">23<", "4711 connected", "127.0.0.1:9090", "Shenzhen"))


def test_the_world_hears_where_there_is_service_and_nothing_more() -> None:
    page = _page(is_local=False)
    assert "Shenzhen" in page
    assert not any(word in page for word in ("acme", ">17<", ">23<", "4711", "9090"))


def test_without_cities_it_says_what_to_do() -> None:
    assert "config.yaml" in _page(is_local=True, cities=())
    assert "No city is open" in _page(is_local=False, cities=())
