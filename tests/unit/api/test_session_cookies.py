from http.cookies import SimpleCookie

from api.session_cookies import SessionCookies


def test_with_tls_a_cookie_is_of_this_host_alone_and_no_script_reads_it() -> None:
    made = SimpleCookie(SessionCookies(is_secure=True).set("app", "secret-1", 90.7))
    ((name, cookie),) = made.items()
    assert (name, cookie.value) == ("__Host-doorstep-app", "secret-1")
    assert (cookie["path"], cookie["domain"], cookie["max-age"]) == ("/", "", "90")
    assert cookie["secure"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"


def test_each_page_has_its_own_and_is_given_back_what_it_was_given() -> None:
    for is_secure in (True, False):
        cookies = SessionCookies(is_secure=is_secure)
        sent = "; ".join(cookies.set(page, f"of-{page}", 9).partition(";")[0] for page in ("app", "console"))
        assert [cookies.read({"cookie": sent}, page) for page in ("app", "console", "order")] == [
            "of-app", "of-console", "",
        ]  # fmt: skip
        assert cookies.read({}, "app") == ""


def test_of_two_cookies_of_one_name_none_is_believed() -> None:
    cookies = SessionCookies(is_secure=False)
    assert cookies.read({"cookie": "doorstep-app=a; doorstep-app=b"}, "app") == ""


def test_the_name_without_tls_opens_nothing_where_there_is_tls() -> None:
    assert SessionCookies(is_secure=True).read({"cookie": "doorstep-app=a"}, "app") == ""


def test_a_cookie_is_taken_away_by_one_without_life() -> None:
    assert SimpleCookie(SessionCookies(is_secure=True).clear("app"))["__Host-doorstep-app"]["max-age"] == "0"
