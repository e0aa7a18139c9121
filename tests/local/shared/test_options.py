"""Options that no model can have are refused by their names, on both APIs."""

import pytest

TOOLS = [{"type": "function", "name": "get"}]
NESTED = [{"type": "function", "function": {"name": "get"}}]

REFUSED = [
    *({"top_k": 5}, {"min_p": 0.1}, {"logit_bias": {"5": 1}}, {"n": 2}, {"logprobs": True}, {"max_tokens": 100}),
    *({"guided_json": {"type": "object"}}, {"functions": [{"name": "f"}]}, {"modalities": ["audio"]}),
    *({"repetition_penalty": 1.1}, {"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
    *({"top_k": 0}, {"min_p": 0}, {"n": True}, {"guided_json": {}}, {"random_seed": 1}, {"extra_body": {"a": 1}}),
    *({"my_own_name": 7}, {"x" * 300: 1}, {"previous_run": ""}),
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
    assert (error["param"], error["code"]) == (name[:100], "unsupported_parameter")
    assert f"'{name[:100]}'" in error["message"]


@pytest.mark.parametrize("option", [*REFUSED, *ONLY_RUNS], ids="".join)
def test_a_run_and_an_assistant_refuse_an_option_that_they_cannot_have_by_its_name(api, option):
    error = refused_run(api, **option)
    assert (error["param"], error["code"]) == ("".join(option)[:100], "unsupported_parameter")
    assert api.error("POST", "/assistants", 400, json={"model": "m"} | option) == error


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("max_tokens", "send 'max_output_tokens'"),
        ("response_format", "send 'text' with 'format'"),
        ("reasoning_effort", "send 'reasoning' with 'effort'"),
    ],
)
def test_a_response_says_how_an_option_of_another_api_is_called_here(api, name, advice):
    assert advice in refused_response(api, **{name: "x"})["message"]


@pytest.mark.parametrize(
    "name",
    ["tool_choice", "parallel_tool_calls", "truncation_strategy", "max_completion_tokens", "additional_instructions"],
)
def test_an_assistant_says_which_options_belong_to_a_run(api, name):
    error = api.error("POST", "/assistants", 400, json={"model": "m", name: "x"})
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert "send it with the run" in error["message"]


def test_allowed_tools_are_for_responses_only(api):
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get"}]}
    error = refused_run(api, tools=NESTED, tool_choice=choice)
    assert (error["param"], error["code"]) == ("tool_choice", "unsupported_parameter")
    assert "for responses only" in error["message"]


def test_a_null_extension_of_a_run_is_that_of_the_assistant(api):
    assistant = api.post("/assistants", {"model": "m", "seed": 7, "temperature": 0.5})["id"]
    run = api.post("/threads/runs", {"assistant_id": assistant, "seed": None, "temperature": None})
    assert (run["seed"], run["temperature"]) == (7, 0.5)
    api.post(f"/assistants/{assistant}", {"seed": None})
    assert "seed" not in api.post("/threads/runs", {"assistant_id": assistant})


def test_the_tool_resources_of_a_run_with_its_thread_are_read(api):
    error = api.error(
        "POST",
        "/threads/runs",
        501,
        json={"assistant_id": "asst_1", "tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}},
    )
    assert error["param"] == "tool_resources.file_search"
    api.post("/threads/runs", {"assistant_id": "asst_1", "tool_resources": {"file_search": {}}})


@pytest.mark.parametrize(
    ("field", "value", "names_it"),
    [
        ("name", None, "name"),
        ("description", 5, "description"),
        ("strict", 5, "strict"),
        ("schema", {"type": "foo"}, "schema"),
        ("schema", {"$schema": 5}, "schema"),
        ("schema", {"$schema": {}}, "schema"),
        ("schema", {"$schema": []}, "schema"),
        ("schema", {"allOf": [{}] * 1001}, "schema"),
        ("schema", {"properties": {f"p{number}": {} for number in range(10_000)}}, "schema"),
    ],
)
def test_both_apis_check_the_schema_of_an_answer_in_the_same_way(api, field, value, names_it):
    inner = {"name": "a", "schema": {"type": "object"}} | {field: value}
    error = refused_response(api, text={"format": {"type": "json_schema"} | inner})
    assert error["param"] == f"text.format.{names_it}"
    error = refused_run(api, response_format={"type": "json_schema", "json_schema": inner})
    assert error["param"] == f"response_format.json_schema.{names_it}"


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"^(?<y>\d{4})$", r"^[\w-.]+$"])
def test_a_schema_may_have_patterns_that_only_javascript_knows(api, pattern):
    schema = {"properties": {"a": {"pattern": pattern}}, "patternProperties": {pattern: {}}}
    form = {"type": "json_schema", "name": "a", "schema": schema}
    made = api.post("/responses", {"model": "m", "input": "x", "text": {"format": form}})
    assert made["text"]["format"]["schema"] == schema


@pytest.mark.parametrize(("option", "param"), INVALID)
def test_a_wrong_value_is_refused_with_its_name(api, option, param):
    assert refused_response(api, **option)["param"] == param
    assert refused_run(api, **option)["param"] == param


def test_an_option_that_asks_for_nothing_is_fine(api):
    nothing = {"logprobs": False, "top_k": None, "n": 1, "logit_bias": {}, "functions": [], "my_own_name": None}
    for answer in (
        api.post("/responses", {"model": "m", "input": "x"} | nothing),
        api.post("/threads/runs", {"assistant_id": "asst_1"} | nothing),
    ):
        assert not nothing.keys() & answer.keys()


def test_options_without_effect_are_accepted_and_not_shown_as_if_they_were_in_force(api):
    options = {
        "truncation": "auto",
        "service_tier": "flex",
        "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": False},
        "prompt_cache_retention": "24h",
    }
    answer = api.post("/responses", {"model": "m", "input": "x"} | options)
    assert (answer["truncation"], answer["service_tier"]) == ("disabled", "default")
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


def test_only_what_is_in_force_is_shown(api):
    form = {"type": "json_object", "schema": {"type": "object"}, "name": "a"}
    answer = api.post("/responses", {"model": "m", "input": "x", "text": {"format": form}})
    assert answer["text"]["format"] == {"type": "json_object"}
    run = api.post(
        "/threads/runs", {"assistant_id": "asst_1", "truncation_strategy": {"type": "auto", "last_messages": 5}}
    )
    assert run["truncation_strategy"] == {"type": "auto", "last_messages": None}


def test_allowed_tools_of_another_kind_are_not_offered(api):
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "name": "get"}]}
    error = api.error(
        "POST", "/responses", 501, json={"model": "m", "input": "x", "tools": TOOLS, "tool_choice": choice}
    )
    assert error["param"] == "tool_choice.tools[0].type"


@pytest.mark.parametrize("data", ["eA==", "eA", "eXk=", "_-A=", "/+A=", "QUJD" * 1000])
def test_an_image_may_be_base64_of_either_alphabet_and_without_padding(api, data):
    part = {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
    response = api.post("/responses", {"model": "m", "input": [{"role": "user", "content": [part]}]})
    assert response["status"] == "completed"


@pytest.mark.parametrize(
    "url",
    [
        *(
            f"data:image/png;base64,{data}"
            for data in ("", "???", "QUJD?", "QUJD QUJD", "QUJD\n", "e", "eA===", "=", "eA==eA==", "QUJDé", "../a.png")
        ),
        "data:image/png,eA==",
        "ftp://x/y",
        "https://",
        "https://x/y z",
    ],
)
def test_an_image_that_nobody_could_load_is_refused(api, url):
    part = {"type": "input_image", "image_url": url}
    assert "image_url" in refused_response(api, input=[{"role": "user", "content": [part]}])["param"]
