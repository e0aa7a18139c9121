"""The redactor removes secrets in each form in which a server may repeat them, and nothing else."""

import json

import pytest

from gpt_agent_fsm.backends.http.redaction import Redactor, secrets_in
from gpt_agent_fsm.errors import RequestRefused

KEY = "sk-a/b+c==_123"
ESCAPED = {
    "plain": KEY,
    "slashes": KEY.replace("/", "\\/"),
    "lower": KEY.replace("=", "\\u003d"),
    "upper": KEY.replace("=", "\\u003D").replace("+", "\\u002B"),
    "JSON in JSON": json.dumps(KEY.replace("/", "\\/"))[1:-1],
    "dashes": KEY.replace("-", "\\u002d"),
}


@pytest.mark.parametrize("shown", ESCAPED.values(), ids=ESCAPED)
def test_a_key_is_removed_from_a_body_however_it_is_escaped(shown):
    body = Redactor([KEY], {}).body(f'{{"a": "x {shown} y", "b": "\\n"}}'.encode())
    assert json.loads(body) == {"a": "x *** y", "b": "\n"}


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be"])
def test_a_key_is_removed_from_a_body_in_utf_16(coding):
    assert Redactor([KEY], {}).body(f"It is {KEY}.".encode(coding)).decode(coding) == "It is ***."


@pytest.mark.parametrize("word", ["ollama", "not-needed", "lm-studio", "Placeholder"])
def test_a_word_in_place_of_a_key_is_removed_only_from_errors(word):
    redactor = Redactor([word], {})
    assert redactor.body(f"Run {word} serve".encode()) == f"Run {word} serve".encode()
    assert redactor.text(f"Wrong key {word}") == "Wrong key ***"


@pytest.mark.parametrize("key", ["correcthorse", "hunter-two"])
def test_a_real_password_of_letters_is_removed_from_answers_and_from_each_part_of_an_error(key):
    redactor = Redactor([key], {})
    assert redactor.body(f"It is {key}.".encode()) == b"It is ***."
    error = redactor.error(RequestRefused(400, key, f"Wrong {key}.", key, param=key))
    assert (error.code, error.message, error.request_id, error.param) == ("***", "Wrong ***.", "***", "***")


SECRET = ["OAuth", "X-UserAuth", "AuthHeader", "sign", "X-Sign", "X-SigV4", "X-Api-Keys", "Authorization", "X-Api-Key"]
SECRET += ["apikey", "X-Auth", "AuthToken", "Cookie", "sig", "X-Signature", "code"]
PUBLIC = ["X-Author", "X-Design", "X-Keyboard", "Signal", "postcode", "Content-Type", "X-Authored-By", "X-Authors"]


@pytest.mark.parametrize(("name", "is_secret"), [*((n, True) for n in SECRET), *((n, False) for n in PUBLIC)])
def test_the_name_of_a_header_says_whether_its_value_is_secret(name, is_secret):
    assert bool(secrets_in({name: "some-value-1"})) is is_secret
