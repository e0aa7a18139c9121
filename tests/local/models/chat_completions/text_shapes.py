"""Shapes of text: its pieces, its repetitions, its end, and the reasoning before it."""

from __future__ import annotations

from gpt_agent_fsm.local import Reply
from tests.local.chat_server import DONE, event, piece
from tests.local.models.chat_completions.shape_builders import (
    HALVES,
    HELLO,
    MESSAGE,
    PLAIN,
    choice,
    last,
    numbered,
    shape,
    text,
    unnumbered,
)

TEXTS = [
    PLAIN,
    shape(
        "the last piece repeats everything", *HALVES, piece(text("Hello there"), "stop"), DONE, right=HELLO, finish=None
    ),
    shape("a piece after the end repeats everything", *HALVES, piece({}, "stop"), text("Hello there"), right=HELLO),
    shape(
        "the last piece has everything and more",
        *HALVES,
        piece(text("Hello there!"), "stop"),
        right=Reply("Hello there!"),
    ),
    shape("a word that comes twice", text("bye"), piece(text("bye"), "stop"), DONE, right=Reply("byebye"), finish=None),
    shape("the last message repeats everything", *HALVES, last(MESSAGE), right=HELLO, finish=None),
    shape(
        "the last message is trimmed",
        text(" Hello"),
        text(" there\n"),
        last(MESSAGE),
        right=Reply(" Hello there\n"),
        finish=None,
    ),
    shape("the last message has more than the pieces", text("Hello"), last(MESSAGE), right=HELLO, finish=None),
    shape("only the last message", {"role": "assistant"}, last(MESSAGE), right=HELLO, finish=None),
    shape(
        "an empty message beside each delta",
        choice(delta=text("Hello"), message=None),
        choice(delta=text(" there"), message={}),
        right=HELLO,
    ),
    shape(
        "the same message beside each delta",
        choice(delta=text("Hello"), message=text("Hello")),
        choice(delta=text(" there"), message=text(" there")),
        right=HELLO,
    ),
    shape(
        "the message so far beside each delta",
        choice(delta=text("Hello"), message=text("Hello")),
        choice(delta=text(" there"), message=text("Hello there")),
        right=HELLO,
    ),
    shape("messages in place of deltas", choice(message=text("Hello")), choice(message=text(" there")), right=HELLO),
    shape("messages with all so far", choice(message=text("Hello")), choice(message=text("Hello there")), right=HELLO),
    shape("the text of a choice", choice(text="Hello"), choice(text=" there"), right=HELLO),
    shape("content in parts", {"content": [{"type": "text", "text": "Hello there"}]}, right=HELLO),
    shape(
        "a second answer beside the first",
        *HALVES,
        event({"choices": [{"index": 1, "delta": text("No")}]}),
        right=HELLO,
    ),
    shape("no mark at the end", *HALVES, piece({}, "stop"), right=HELLO, finish=None),
    shape("no reason to finish", *HALVES, DONE, right=HELLO, finish=None),
    shape(
        "a whole answer as the only event",
        event({"object": "chat.completion", "choices": [{"message": MESSAGE}]}),
        right=HELLO,
        finish=None,
    ),
    shape(
        "another limit of length",
        *HALVES,
        right=Reply("Hello there", incomplete="max_completion_tokens"),
        finish="MAX_TOKENS",
    ),
    shape("another filter", *HALVES, right=Reply("Hello there", incomplete="content_filter"), finish="SAFETY"),
    shape(
        "a reason that is an object",
        *HALVES,
        choice(delta={}, finish_reason={"type": "length", "length": 2}),
        right=Reply("Hello there", incomplete="max_completion_tokens"),
        finish=None,
    ),
    shape(
        "reasoning in fields of its own",
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "thinking": "Hm."},
        *HALVES,
        right=HELLO,
    ),
    shape(
        "reasoning in parts",
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "reasoning", "text": "Hm."},
            ]
        },
        *HALVES,
        right=HELLO,
    ),
    shape("reasoning between tags", text("<think>\nHm."), text("\n</think>\n\n"), *HALVES, right=HELLO),
    shape("tags in pieces", *map(text, ("\n<th", "ink>H", "m.</thi", "nk>", "\n", "Hello", " there")), right=HELLO),
    shape("a tag that is none", text("<the"), text(" end>"), right=Reply("<the end>")),
    shape("the beginning of a tag is everything", text("<th"), right=Reply("<th")),
    # The number of the choice.
    shape("a choice without a number at first", unnumbered(role="assistant"), *HALVES, right=HELLO),
    shape("a number that is a text at first", numbered("0", role="assistant"), *HALVES, right=HELLO),
    shape(
        "a number for each piece",
        numbered(0, content="Hello"),
        numbered(1, content=" there"),
        event({"choices": [{"index": 2, "delta": {}, "finish_reason": "stop"}]}),
        DONE,
        right=HELLO,
        finish=None,
    ),
    shape(
        "a second answer between the pieces of the first",
        numbered(0, content="Hello"),
        numbered(1, content="No"),
        numbered(0, content=" there"),
        DONE,
        right=HELLO,
        finish=None,
    ),
    shape(
        "a second answer in the same pieces",
        event({"choices": [{"index": 1, "delta": text("No")}, {"index": 0, "delta": text("Hello there")}]}),
        right=HELLO,
    ),
    # The reason to finish.
    shape("a reason that is none", piece(text("Hello"), "null"), piece(text(" there"), "none"), right=HELLO),
    shape("a reason with each piece", piece(text("Hello"), "stop"), piece(text(" there"), "stop"), right=HELLO),
    shape("a reason that is none and no other", piece(text("Hello"), "null"), right="broke off", finish=None),
    shape(
        "a second answer after the end of the first",
        *HALVES,
        piece({}, "stop"),
        numbered(1, content="No"),
        DONE,
        right=HELLO,
        finish=None,
    ),
    shape("calls that never come", right="the finish reason 'tool_calls', but no tool call", finish="tool_calls"),
    # Text in other forms.
    shape("content in a list of texts", {"content": ["Hello", " there"]}, right=HELLO),
    shape("text within an object", {"content": [{"type": "text", "text": {"value": "Hello there"}}]}, right=HELLO),
    shape("parts of an unknown type", {"content": [{"type": "output", "text": "Hello there"}]}, right=HELLO),
    shape("content that is a number", {"content": 5}, right=Reply("5")),
    shape(
        "content of an unknown form",
        {"content": [{"type": "image_url", "image_url": {"url": "http://a.test"}}]},
        right="its content has an unknown form",
    ),
    shape(
        "a character in two halves",
        b'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "\\ude00"}}]}\n\n',
        right=Reply("\U0001f600"),
    ),
    shape("half a character", b'data: {"choices": [{"delta": {"content": "a\\ud83d"}}]}\n\n', right=Reply("a\ufffd")),
    # What comes twice.
    shape(
        "all so far in each delta",
        *map(text, ("Hello", "Hello there", "Hello there you")),
        right=Reply("Hello there you"),
    ),
    shape("a repetition before the end", *HALVES, text("Hello there"), right=HELLO),
    shape("a repetition and no reason to finish", *HALVES, text("Hello there"), DONE, right=HELLO, finish=None),
    shape("a syllable that comes twice", *map(text, ("b", "on", "bon")), right=Reply("bonbon")),
    shape("a word that begins again", *map(text, ("no", " ", "no yes")), right=Reply("no no yes")),
    shape(
        "a sentence that comes twice and continues",
        *HALVES,
        text("Hello there"),
        text("!"),
        right=Reply("Hello thereHello there!"),
    ),
    shape("a sentence that comes three times", *HALVES, *[text("Hello there")] * 2, right=Reply("Hello there" * 3)),
    shape(
        "a longer sentence after the first piece",
        text("Hello there"),
        text("Hello there!"),
        right=Reply("Hello thereHello there!"),
    ),
    shape("a piece that comes twice", text("x" * 20), text("x" * 20), right=Reply("x" * 40)),
    shape("a longer piece that begins like the first", text("ha"), text("haha"), right=Reply("hahaha")),
    shape("lines that are blank", *map(text, ("\n", "\n", "  Hello")), right=Reply("\n\n  Hello")),
    shape(
        "messages after a blank one",
        *(choice(message=text(said)) for said in ("\n", "Hello ", "there")),
        right=Reply("\nHello there"),
    ),
    shape("a message after blank deltas", text("\n"), last(MESSAGE), right=Reply("\nHello there"), finish=None),
    # Reasoning.
    shape("two blocks of reasoning", text("<think>Hm.</think>\n<think>Ah.</think>Hello"), text(" there"), right=HELLO),
    shape("two blocks in one piece", text("<think>Hm.</think><think>Ah.</think>Hello there"), right=HELLO),
    shape("another tag", *map(text, ("<thin", "king>Hm.</thinking", ">\nHello", " there")), right=HELLO),
    shape("a tag in capitals", text("<THINK>Hm.</THINK>Hello there"), right=HELLO),
    shape("a tag with attributes", *map(text, ("<think ", 'time="1">Hm.</think>Hello there')), right=HELLO),
    shape("a tag in brackets", *map(text, ("[TH", "INK]Hm.[/THI", "NK]Hello there")), right=HELLO),
    shape(
        "channels",
        *map(
            text, ("<|channel|>analysis<|mess", "age|>Hm.<|end|><|start|>assistant<|chan", "nel|>final<|message|>Hello")
        ),
        text(" there"),
        right=HELLO,
    ),
    shape("only the last channel", text("<|channel|>final<|message|>Hello"), text(" there"), right=HELLO),
    shape("syllables that grow", *map(text, ("b", "bo", "bon", "!")), right=Reply("bbobon!")),
    shape("reasoning that is all there is", text("<think>Hello there"), right=Reply("<think>Hello there")),
    shape("a tag that is mentioned", text("The tag </think> ends it."), right=Reply("The tag </think> ends it.")),
    shape("a tag that is quoted", text("So:\n<think>\n</think>\nEnd"), right=Reply("So:\n<think>\n</think>\nEnd")),
]
