"""Every known shape of an answer, read whole and in pieces, however the network cuts it."""

import pytest

from gpt_agent_fsm.local import ModelError
from gpt_agent_fsm.local.models.asking import listen
from tests.local.chat_server import Answer
from tests.local.models.chat_completions.questions import request
from tests.local.models.chat_completions.shape_builders import TOOLS
from tests.local.models.chat_completions.shapes import CALLS, FRAMES, SHAPES, TEXTS

ONE_BY_ONE = [*TEXTS[:12], *CALLS[:8], *FRAMES]


def name_of(shape):
    return shape.name


def outcome(ask, model):
    try:
        return ask(model, request(tools=TOOLS))
    except ModelError as error:
        return error.message


def check(seen, shape):
    assert seen == shape.right or (isinstance(seen, str) and isinstance(shape.right, str) and shape.right in seen)


def test_no_shape_is_in_the_table_twice():
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_an_answer_arrives_whole_and_once_or_fails_with_the_words_of_the_model(serve, ask, shape):
    _, model = serve(Answer(headers={"Content-Type": shape.content_type}, body=[shape.sent]))
    check(outcome(ask, model), shape)


@pytest.mark.parametrize("shape", ONE_BY_ONE, ids=name_of)
def test_an_answer_that_comes_byte_by_byte_is_the_same(serve, ask, shape):
    sent = [bytes([byte]) for byte in shape.sent]
    _, model = serve(Answer(headers={"Content-Type": shape.content_type}, body=sent))
    check(outcome(ask, model), shape)


@pytest.mark.parametrize("shape", [each for each in TEXTS if not isinstance(each.right, str)], ids=name_of)
def test_the_pieces_are_the_text_of_the_reply(serve, shape):
    _, model = serve(Answer(headers={"Content-Type": shape.content_type}, body=[shape.sent]))
    pieces = []
    assert listen(model.stream(request()), pieces.append).text == "".join(pieces)
