"""Structured answers: what models may return, and what the strict mode refuses."""

import pytest

from gpt_agent_fsm.local import ModelRequest, Reply, ScriptedModel, ToolCall
from gpt_agent_fsm.local.models.asking import ask
from gpt_agent_fsm.local.models.structured import schema_error
from tests.local.event_streams import deltas, response_stream, run_stream
from tests.local.stand_ins import Recorder, Speaker

SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
FORM = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
FLAT = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}
JSON = {"type": "json_object"}


def asked(answer, *, form=FORM, strict=True):
    request = ModelRequest("", [{"role": "user", "content": "Hello"}], [], "m", response_format=form)
    return ask(lambda _request: answer, request, strict_schemas=strict)


def test_a_model_knows_the_schema_that_was_asked_for():
    assert ModelRequest("", [], [], "m", response_format=FORM).schema == SCHEMA
    assert ModelRequest("", [], [], "m", response_format=JSON).schema is None
    assert ModelRequest("", [], [], "m").schema is None


@pytest.mark.parametrize("form", [FORM, JSON])
def test_a_model_may_return_an_object_if_json_was_asked_for(form):
    assert asked({"ok": True, "é": [1]}, form=form) == Reply('{"ok":true,"é":[1]}')


def test_an_object_is_no_answer_to_a_client_that_asked_for_text():
    assert "(or a dict, if the client asked for JSON), but this one returned a dict" in asked({}, form=None).message


def test_an_object_that_is_not_valid_json_is_an_error():
    assert "cannot be written as JSON" in asked({"ok": object()}).message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Yes.", "is not valid JSON, but JSON was asked for"),
        ("", "is not valid JSON"),
        ({"ok": 7}, "does not fit the JSON schema that was asked for: at $.ok, 7 is not of type 'boolean'."),
        ("[]", "at $, [] is not of type 'object'."),
        ({}, "'ok' is a required property."),
    ],
)
def test_in_the_strict_mode_an_answer_that_does_not_fit_is_an_error(answer, words):
    error = asked(answer)
    assert error.code == "server_error"
    assert words in error.message
    assert isinstance(asked(answer, strict=False), Reply)


@pytest.mark.parametrize(
    "answer", [{"ok": True}, '{"ok": true}', Reply('{"ok', incomplete="max_completion_tokens"), [ToolCall("f")]]
)
def test_in_the_strict_mode_a_fit_answer_a_part_of_one_and_calls_are_fine(answer):
    assert isinstance(asked(answer), Reply)


def test_a_text_is_never_checked():
    assert asked("Yes.", form=None) == Reply("Yes.")


@pytest.mark.parametrize("answer", ["7", '"x"', "[1]", "null", "true"])
def test_in_the_strict_mode_a_json_object_is_an_object(answer):
    assert "not a JSON object" in asked(answer, form=JSON).message
    assert asked(answer, form=JSON, strict=False) == Reply(answer)


def form_of(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"title": "abc", "$ref": "#/title"}, {}),
        ({"maxLength": 5, "$ref": "#/maxLength"}, {}),
        ({"$schema": "http://json-schema.org/draft-03/schema#", "type": "foo"}, {}),
        ({"properties": {"a": {"$ref": "#/required"}}, "required": ["a"]}, {"a": 1}),
        ({"properties": {"a": {"multipleOf": 1e-13}}}, '{"a": 1' + "0" * 400 + "}"),
    ],
)
def test_in_the_strict_mode_a_schema_that_cannot_be_applied_is_an_error(schema, answer):
    error = asked(answer, form=form_of(schema))
    assert error.code == "server_error"
    assert "does not fit the JSON schema that was asked for" in error.message or "not valid JSON" in error.message


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(a+)+$": {"type": "integer"}}, "additionalProperties": False},
        {"patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": False},
        {"properties": {"a": {"pattern": r"^\p{L}+$"}}},
    ],
)
def test_in_the_strict_mode_no_regular_expression_of_a_client_is_run(monkeypatch, schema):
    def search(*_arguments):
        pytest.fail("a regular expression was run")

    monkeypatch.setattr("re.search", search)
    assert isinstance(asked({"a": "aaa!", "aaa!": "x"}, form=form_of(schema)), Reply)


def test_without_patterns_additional_properties_are_checked():
    schema = {"properties": {"a": {}}, "additionalProperties": False}
    assert "Additional properties are not allowed" in asked({"b": 1}, form=form_of(schema)).message


def test_a_schema_that_refers_to_another_place_is_not_fetched(monkeypatch):
    opened = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **_kwargs: opened.append(args))
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "http://127.0.0.1:1/schema.json"}}}
    assert "the schema refers to http://127.0.0.1:1/schema.json, which it does not have" in asked({}, form=form).message
    assert opened == []


def test_a_schema_that_never_ends_is_an_error():
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "#"}}}
    assert "the schema refers to itself without an end" in asked({}, form=form).message


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"properties": 7}, {"required": "ok"}])
def test_an_invalid_schema_is_refused_with_its_place(api, schema):
    assert schema_error(schema)
    form = {"type": "json_schema", "name": "a", "schema": schema}
    error = api.error("POST", "/responses", 400, json={"model": "m", "input": "x", "text": {"format": form}})
    assert (error["param"], error["code"]) == ("text.format.schema", "invalid_json_schema")
    body = {"assistant_id": "asst_1", "response_format": {"type": "json_schema", "json_schema": form}}
    error = api.error("POST", "/threads/runs", 400, json=body)
    assert (error["param"], error["code"]) == ("response_format.json_schema.schema", "invalid_json_schema")


SCRIPT = """
rules:
  - matches: "is it (?P<what>.*)[?]"
    say: {ok: true, what: ["{what}", {asked: "{message}"}]}
otherwise:
  say: {ok: 7}
"""


def test_a_script_says_an_object_through_both_apis(serve):
    api = serve(ScriptedModel.from_yaml(SCRIPT), strict_schemas=True)
    right = '{"ok":true,"what":["warm",{"asked":"Is it warm?"}]}'
    assert api.answered("Is it warm?", text=FLAT)["output"][0]["content"][0]["text"] == right
    run = api.see(api.run(api.thread("Is it warm?"), response_format=FORM), "completed")
    assert api.texts(run["thread_id"])[-1] == right
    assert "$.ok, 7" in api.answered("x", "failed", text=FLAT)["error"]["message"]
    failed = api.see(api.run(api.thread("x"), response_format=FORM), "failed")
    assert "$.ok, 7" in failed["last_error"]["message"]


def test_without_the_strict_mode_an_answer_that_does_not_fit_is_passed_on(serve):
    api = serve(Recorder("Yes."))
    assert api.answered("x", text=FLAT)["output"][0]["content"][0]["text"] == "Yes."


def test_a_streamed_answer_that_does_not_fit_fails_after_its_pieces(serve):
    api = serve(Speaker('{"ok"', ": 7}"), strict_schemas=True)
    events = list(response_stream(api, "x", text=FLAT))
    assert (deltas(events), events[-1][0]) == (['{"ok"', ": 7}"], "response.failed")
    assert "thread.run.failed" in dict(run_stream(api, "x", response_format=FORM))


def test_a_script_that_says_a_mapping_to_a_client_that_wants_text_says_so():
    request = ModelRequest("", [{"role": "user", "content": "Hello"}], [], "m")
    error = ask(ScriptedModel(otherwise={"say": {"x": 1}}), request)
    assert error.message == "The script says a mapping here, but the client has not asked for JSON."
