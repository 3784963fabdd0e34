"""Why, over HTTP: of an order, of a technician, and what would be if."""

from pathlib import Path

import pytest

from tests.integration.served import CITY, LAT, order, served

pytestmark = pytest.mark.slow


async def test_rounds_are_explained_from_both_sides_page_by_page(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = server.token("ops_1", "ops")
        await server.technician("tec_near", LAT + 0.005)
        await server.technician("tec_far", LAT + 0.02)
        placed = [
            (await server.call("POST", "/v1/orders", server.token(name, "customer"), order(customer=None)))[1]
            for name in ("cus_1", "cus_2")
        ]
        path = f"/v1/orders/{placed[1]['order']}"
        (told, *_) = (await server.call("GET", f"{path}/explain", ops))[1]["rounds"]
        assert (told["chosen"], told["why"], told["solver"]) == (["tec_far"], "cheapest", "exact")
        assert {row["technician"]: row["reason"] for row in told["excluded"]} == {"tec_near": "offered"}
        (candidate,) = told["ranking"]
        assert candidate["outcome"] == "chosen"
        assert candidate["cost_s"] == pytest.approx(sum(term["seconds"] for term in candidate["terms"]))

        why = f"/v1/technicians/tec_far/why-no-offers?city={CITY}"
        whole = (await server.call("GET", why, ops))[1]
        assert whole["outcomes"] == {"chosen": 1, "dearer": 1}
        assert (whole["rounds"], whole["in_reach"]) == (2, 2)
        assert (whole["duty"], whole["unnamed"]) == ("on", 0)
        assert whole["duty_since"] < placed[0]["placed_at"]
        assert "next" not in whole
        first = (await server.call("GET", f"{why}&limit=1", ops))[1]
        second = (await server.call("GET", f"{why}&limit=1&after={first['next']}", ops))[1]
        assert [page["outcomes"] for page in (first, second)] == [{"dearer": 1}, {"chosen": 1}]
        assert first["seen"] + second["seen"] == whole["seen"]
        assert (await server.call("GET", f"{why}&from=9&to=8", ops))[0] == 422
        assert (await server.call("GET", f"{why}&after=nonsense", ops))[1]["code"] == "cursor_invalid"

        question = {"waive": ["offered"], "policy": {"rating_max_s": 0, "radius_steps_m": [9000]}}
        status, answer, _ = await server.call("POST", f"{path}/what-if", ops, question)
        assert status == 200
        assert (answer["as_is"]["chosen"], answer["asked"]["chosen"]) == ([], ["tec_near"])
        assert answer["asked"]["radius_m"] == 9000
        for wrong in ({"policy": {"seed": 1}}, {"policy": {"rating_max_s": 9999}}, {"waive": ["off_duty"]}):
            assert (await server.call("POST", f"{path}/what-if", ops, wrong))[0] == 422
        assert len((await server.call("GET", f"{path}/explain", ops))[1]["rounds"]) == 1
        await server.call("POST", f"{path}/cancel", ops, {})
        status, refused, _ = await server.call("POST", f"{path}/what-if", ops, {})
        assert (status, refused["code"]) == (409, "conflict")
