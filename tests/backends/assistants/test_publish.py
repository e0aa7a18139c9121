"""Putting an assistant on a server that keeps assistants."""

import pytest

from gpt_agent_fsm import Assistant, FunctionTool, errors, tool

BASE = "http://api.test/v1/assistants"
SAM = Assistant("gpt-4o", "Be brief.", [FunctionTool("f"), {"type": "code_interpreter"}], name="Sam", temperature=0.5)


def listed(*names, more=False):
    return {"data": [{"id": f"asst_{name}", "name": name} for name in names], "has_more": more}


def test_an_assistant_without_a_name_is_created(backend, requests_mock):
    requests_mock.post(BASE, json={"id": "asst_1"})
    assert backend.publish(Assistant("gpt-4o", options={"response_format": "auto"})) == "asst_1"
    assert requests_mock.last_request.json() == {
        "model": "gpt-4o",
        "response_format": "auto",
        "name": None,
        "instructions": "",
        "tools": [],
    }
    assert requests_mock.call_count == 1


def test_an_assistant_whose_name_the_server_does_not_know_is_created(backend, requests_mock):
    requests_mock.get(BASE, json=listed("Max"))
    requests_mock.post(BASE, json={"id": "asst_1"})
    assert backend.publish(SAM) == "asst_1"
    function = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}, "strict": False}
    assert requests_mock.last_request.json() == {
        "model": "gpt-4o",
        "instructions": "Be brief.",
        "temperature": 0.5,
        "name": "Sam",
        "tools": [{"type": "function", "function": function}, {"type": "code_interpreter"}],
    }


def test_one_of_the_same_name_is_changed_on_any_page(backend, requests_mock):
    requests_mock.get(BASE, [{"json": listed("Max", "Eve", more=True)}, {"json": listed("Sam")}])
    requests_mock.post(f"{BASE}/asst_Sam", json={"id": "asst_Sam"})
    assert backend.publish(SAM) == "asst_Sam"
    assert requests_mock.request_history[1].qs["after"] == ["asst_eve"]


def test_pages_that_bring_nothing_new_are_the_end(backend, requests_mock):
    requests_mock.get(BASE, json=listed("Max", more=True))
    requests_mock.post(BASE, json={"id": "asst_1"})
    assert backend.publish(SAM) == "asst_1"
    assert requests_mock.call_count == 3


def test_an_assistant_named_by_its_id_is_changed_without_a_search(backend, requests_mock):
    requests_mock.post(f"{BASE}/asst_7", json={"id": "asst_7"})
    assert backend.publish(SAM, "asst_7") == "asst_7"
    assert requests_mock.call_count == 1


def test_an_id_that_the_server_does_not_know_is_refused(backend, requests_mock):
    requests_mock.post(f"{BASE}/asst_7", status_code=404, json={"error": {"message": "No assistant found"}})
    with pytest.raises(errors.RequestRefused, match="No assistant found"):
        backend.publish(SAM, "asst_7")


def test_different_functions_of_one_name_in_two_assistants_are_refused(backend, requests_mock):
    def weather_in(country):
        def get_weather(city: str) -> str:
            return f"{city}, {country}"

        return get_weather

    norway, sweden = weather_in("Norway"), weather_in("Sweden")
    requests_mock.post(BASE, [{"json": {"id": "asst_1"}}, {"json": {"id": "asst_2"}}])
    requests_mock.post(f"{BASE}/asst_1", json={"id": "asst_1"})
    backend.publish(Assistant("m", tools=[norway]))
    with pytest.raises(ValueError, match="get_weather"):
        backend.publish(Assistant("m", tools=[sweden]))
    assert requests_mock.call_count == 1
    # The same assistant may get another function.
    backend.publish(Assistant("m", tools=[sweden]), "asst_1")
    assert [tool("Oslo") for tool in backend.functions] == ["Oslo, Sweden"]


def test_a_function_of_two_assistants_is_known_once(backend, requests_mock):
    def get_weather(city: str) -> str:
        return city

    weather = tool(get_weather)
    requests_mock.post(BASE, [{"json": {"id": "asst_1"}}, {"json": {"id": "asst_2"}}])
    for _ in range(2):
        backend.publish(Assistant("m", tools=[weather]))
    assert backend.functions == (weather,)
