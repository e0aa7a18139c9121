"""Options that no model can have are refused by their names, on both APIs."""

import pytest

TOOLS = [{"type": "function", "name": "get"}]
NESTED = [{"type": "function", "function": {"name": "get"}}]

REFUSED = [
    *({"top_k": 5}, {"min_p": 0.1}, {"logit_bias": {"5": 1}}, {"n": 2}, {"logprobs": True}, {"max_tokens": 100}),
    *({"guided_json": {"type": "object"}}, {"functions": [{"name": "f"}]}, {"modalities": ["audio"]}),
    *({"repetition_penalty": 1.1}, {"chat_template_kwargs": {"enable_thinking": False}}),
]
ONLY_RESPONSES = [
    *({"response_format": {"type": "json_object"}}, {"reasoning_effort": "low"}, {"top_logprobs": 3}),
    *({"moderation": {"a": 1}}, {"context_management": [{"type": "compaction"}]}, {"max_completion_tokens": 300}),
]
ONLY_RUNS = [{"text": {"verbosity": "low"}}, {"reasoning": {"effort": "low"}}, {"max_output_tokens": 300}]

INVALID = [
    ({"temperature": 3}, "temperature"),
    ({"seed": "x"}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"stop": 7}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"presence_penalty": "x"}, "presence_penalty"),
    ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
    ({"tool_choice": "required"}, "tool_choice"),
]


def refused_response(api, **options):
    return api.error("POST", "/responses", 400, json={"model": "m", "input": "x"} | options)


def refused_run(api, **options):
    return api.error("POST", "/threads/runs", 400, json={"assistant_id": "asst_1"} | options)


@pytest.mark.parametrize("option", [*REFUSED, *ONLY_RESPONSES], ids="".join)
def test_a_response_refuses_an_option_that_it_cannot_have_by_its_name(api, option):
    error = refused_response(api, **option)
    [name] = option
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert f"'{name}'" in error["message"]


@pytest.mark.parametrize("option", [*REFUSED, *ONLY_RUNS], ids="".join)
def test_a_run_and_an_assistant_refuse_an_option_that_they_cannot_have_by_its_name(api, option):
    error = refused_run(api, **option)
    assert (error["param"], error["code"]) == ("".join(option), "unsupported_parameter")
    assert api.error("POST", "/assistants", 400, json={"model": "m"} | option) == error


@pytest.mark.parametrize(("option", "param"), INVALID)
def test_a_wrong_value_is_refused_with_its_name(api, option, param):
    assert refused_response(api, **option)["param"] == param
    assert refused_run(api, **option)["param"] == param


def test_an_option_that_asks_for_nothing_and_a_name_that_is_no_option_are_fine(api):
    nothing = {"logprobs": False, "top_k": None, "n": 1, "logit_bias": {}, "my_own_name": 7}
    for answer in (
        api.post("/responses", {"model": "m", "input": "x"} | nothing),
        api.post("/threads/runs", {"assistant_id": "asst_1"} | nothing),
    ):
        assert not nothing.keys() & answer.keys()


def test_options_without_effect_are_accepted_and_not_shown_as_if_they_were_in_force(api):
    options = {
        "truncation": "auto",
        "service_tier": "flex",
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": False},
        "prompt_cache_retention": "24h",
    }
    answer = api.post("/responses", {"model": "m", "input": "x"} | options)
    assert (answer["truncation"], answer["service_tier"]) == ("disabled", "default")
    assert answer["reasoning"] == {"effort": "low", "summary": None}
    assert not {"include", "stream_options", "prompt_cache_retention"} & answer.keys()
    run = api.post("/threads/runs", {"assistant_id": "asst_1", "max_prompt_tokens": 300})
    assert run["max_prompt_tokens"] is None


def test_log_probabilities_are_refused_wherever_they_are_asked_for(api):
    error = refused_response(api, include=["message.output_text.logprobs"])
    assert error["param"] == "include[message.output_text.logprobs]"
    assert refused_response(api, include="x")["param"] == "include"


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "put"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "put"}]},
    ],
)
def test_a_choice_of_a_tool_that_a_response_lacks_is_refused(api, choice):
    for tools in (TOOLS, []):
        assert refused_response(api, tools=tools, tool_choice=choice)["param"] == "tool_choice"


def test_a_choice_of_a_tool_that_a_run_lacks_is_refused(api):
    choice = {"type": "function", "function": {"name": "put"}}
    error = refused_run(api, tools=NESTED, tool_choice=choice)
    assert error["message"] == "Invalid value for 'tool_choice': the function 'put' is not among the tools."


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "allowed_tools", "mode": "auto"}, "tool_choice.tools"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{}]}, "tool_choice.tools[0].name"),
    ],
)
def test_allowed_tools_are_named(api, choice, param):
    assert refused_response(api, tools=TOOLS, tool_choice=choice)["param"] == param


def test_the_last_messages_are_counted(api):
    strategy = {"type": "last_messages"}
    assert refused_run(api, truncation_strategy=strategy)["param"] == "truncation_strategy.last_messages"
