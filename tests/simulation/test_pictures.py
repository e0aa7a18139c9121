"""The images and files of a life: each shows the word of its message, and each API takes them."""

import pytest

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.engine.content import read_content
from gpt_agent_fsm.ports import Message
from gpt_agent_fsm.testing.simulation.pictures import Pictures, word_of

BACKENDS = {
    "assistants": lambda: AssistantsBackend("http://api.test/v1", "k"),
    "responses": lambda: ResponsesBackend("http://api.test/v1", "k", assistants={"a": Assistant("m")}),
}


@pytest.mark.parametrize("wire", BACKENDS)
def test_every_message_of_a_life_shows_its_word_and_can_be_sent(wire):
    backend, kinds = BACKENDS[wire](), set()
    for seed in range(20):
        pictures = Pictures(seed, wire)
        for number in range(20):
            word = f"0.{number}"
            text, parts = read_content(pictures.content(word), backend, 1000)
            kinds.add((bool(text), *(type(part).__name__ for part in parts)))
            assert parts == pictures.sent.get(word, ())
            assert word_of(Message(id="m", role="user", content=text, parts=parts)) == word
    assert {(True,), (True, "Text", "Image"), (True, "Text", "File"), (False, "Image")} <= kinds
    backend.close()
