"""What an answer has beside its text: citations, hosted tools, images, reasoning and refusals, on both APIs."""

import base64

import pytest

from gpt_agent_fsm import Assistant, Runtime, events
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.local import (
    ApprovalRequest,
    CodeInterpreter,
    FileCitation,
    FilePath,
    FileSearch,
    FileSearchResult,
    LocalServer,
    MadeImage,
    McpCall,
    Reply,
    ScriptedModel,
    ToolCall,
    UrlCitation,
    WebSearch,
)
from tests.local.event_streams import names, response_stream, run_stream
from tests.local.schemas import checked, checked_event
from tests.local.stand_ins import Recorder

openai = pytest.importorskip("openai")

PNG = b"\x89PNG\r\n\x1a\n"
CITED = Reply(
    "Oslo [1] is wet [1].",
    annotations=[
        UrlCitation("[1]", "https://example.org", "Weather"),
        FileCitation("[1]", "file-1", "notes.txt"),
        FilePath("wet", "file-2"),
    ],
)
USED = Reply(
    "Done.",
    reasoning=["I look it up.", "Then I say it."],
    hosted=[
        WebSearch("Oslo", ["https://example.org"]),
        FileSearch(["wet"], [FileSearchResult("file-1", "notes.txt", "Wet.", 0.5)]),
        CodeInterpreter("print(1)", "1"),
        McpCall("read", {"name": "a.txt"}, "Hello", "files"),
        McpCall("write", '{"name": "b.txt"}', error="No space."),
        MadeImage(PNG),
    ],
)
ALL = ["web_search_call.action.sources", "file_search_call.results", "code_interpreter_call.outputs"]
KINDS = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "mcp_call",
    "mcp_call",
    "image_generation_call",
]


class Pieces:
    """A model that says its text in two pieces, and then the rest of the reply."""

    def __init__(self, reply):
        self._reply = reply

    def __call__(self, _request):
        middle = len(self._reply.text) // 2
        yield self._reply.text[:middle]
        yield self._reply.text[middle:]
        yield self._reply


def run_of(api):
    thread = api.thread("Hello")
    run = api.see(api.run(thread), "completed")
    message = api.get(f"/threads/{thread}/messages")["data"][0]
    steps = api.get(f"/threads/{thread}/runs/{run['id']}/steps", params={"order": "asc"})["data"]
    return message, steps


# --- responses ------------------------------------------------------------------------------------------------------


def test_the_citations_of_a_response_say_which_part_of_the_text_they_mark(serve):
    response = checked("Response", serve(Recorder(CITED)).answered("Hello"))
    [message] = response["output"]
    assert message["content"][0]["annotations"] == [
        {
            "type": "url_citation",
            "url": "https://example.org",
            "title": "Weather",
            "start_index": 5,
            "end_index": 8,
        },
        {"type": "file_citation", "file_id": "file-1", "filename": "notes.txt", "index": 19},
        {"type": "file_path", "file_id": "file-2", "index": 15},
    ]


def test_citations_of_the_same_words_mark_one_place_after_the_other(serve):
    marks = [UrlCitation("[1]", f"https://{host}.example") for host in "abc"]
    response = serve(Recorder(Reply("A [1] and B [1].", annotations=marks))).answered("Hello")
    spans = [(each["start_index"], each["end_index"]) for each in response["output"][0]["content"][0]["annotations"]]
    assert spans == [(2, 5), (12, 15), (12, 15)]


def test_hosted_tools_are_items_before_the_message(serve):
    response = checked("Response", serve(Recorder(USED)).answered("Hello", include=ALL))
    *hosted, message = response["output"]
    assert [item["type"] for item in hosted] == KINDS
    web, files, code, read, write, image = hosted
    assert web["action"] == {
        "type": "search",
        "query": "Oslo",
        "sources": [{"type": "url", "url": "https://example.org"}],
    }
    found = {"file_id": "file-1", "filename": "notes.txt", "score": 0.5, "text": "Wet."}
    assert (files["queries"], files["results"]) == (["wet"], [found])
    assert (code["code"], code["outputs"]) == ("print(1)", [{"type": "logs", "logs": "1"}])
    assert (read["server_label"], read["name"], read["output"], read["error"]) == ("files", "read", "Hello", None)
    assert (write["arguments"], write["status"], write["output"]) == ('{"name": "b.txt"}', "failed", None)
    assert write["error"]["content"] == [{"type": "text", "text": "No space."}]
    assert base64.b64decode(image["result"]) == PNG
    assert message["content"][0]["text"] == "Done."


def test_details_of_hosted_tools_are_shown_only_to_clients_that_include_them(serve):
    response = checked("Response", serve(Recorder(USED)).answered("Hello"))
    web, files, code, *_ = response["output"]
    assert web["action"] == {"type": "search", "query": "Oslo"}
    assert (files["results"], code["outputs"]) == (None, None)


def test_a_summary_of_the_reasoning_is_shown_only_to_clients_that_ask_for_one(serve):
    api = serve(Recorder(USED, USED))
    asked = checked("Response", api.answered("Hello", reasoning={"summary": "auto"}))
    assert asked["reasoning"] == {"effort": None, "summary": "auto"}
    assert asked["output"][0]["type"] == "reasoning"
    texts = [part["text"] for part in asked["output"][0]["summary"]]
    assert texts == ["I look it up.", "Then I say it."]
    assert "reasoning" not in [item["type"] for item in api.answered("Hello")["output"]]


@pytest.mark.parametrize("text", ["", "Well."])
def test_a_refusal_is_a_part_of_the_message(serve, text):
    response = checked("Response", serve(Recorder(Reply(text, refusal="No."))).answered("Hello"))
    [message] = response["output"]
    said = [part.get("text", part.get("refusal")) for part in message["content"]]
    assert said == ([text] if text else []) + ["No."]
    assert message["content"][-1]["type"] == "refusal"


def test_items_of_hosted_tools_are_listed_in_the_conversation_and_may_be_sent_back(serve):
    model = Recorder(USED, "Again.", "And again.")
    api = serve(model)
    conversation = api.conversation()
    first = api.answered("Hello", conversation=conversation, reasoning={"summary": "auto"})
    listed = checked("ConversationItemList", api.get(f"/conversations/{conversation}/items", params={"limit": 100}))
    assert [item["type"] for item in listed["data"]] == ["message", *KINDS[::-1], "reasoning", "message"]
    for item in listed["data"]:
        checked("ConversationItem", api.get(f"/conversations/{conversation}/items/{item['id']}"))
    api.answered("More", conversation=conversation)
    api.answered([{"role": "user", "content": "Hello"}, *first["output"], {"role": "user", "content": "More"}])
    for request in model.requests[1:]:
        assert [message["content"] for message in request.messages] == ["Hello", "Done.", "More"]


@pytest.mark.parametrize("model", [Recorder(CITED), Pieces(CITED), Recorder(USED), Pieces(USED)])
def test_every_event_of_a_response_fits_its_schema_and_can_be_read_again(serve, model):
    api = serve(model)
    events = list(response_stream(api, reasoning={"summary": "auto"}, include=ALL, background=True))
    for name, data in events:
        checked_event(name, data)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    response = events[-1][1]["response"]
    done = [data["item"] for name, data in events if name == "response.output_item.done"]
    assert done == response["output"]
    added = [data["item"]["id"] for name, data in events if name == "response.output_item.added"]
    assert sorted(added) == sorted(item["id"] for item in done)
    for data in (data for _, data in events if "item_id" in data):
        assert response["output"][data["output_index"]]["id"] == data["item_id"]
    again = list(api.stream("GET", f"/responses/{response['id']}", params={"stream": "true"}))
    assert again == events


def test_a_stream_of_a_response_tells_each_citation(serve):
    events = list(response_stream(serve(Pieces(CITED))))
    told = [data for name, data in events if name == "response.output_text.annotation.added"]
    [message] = events[-1][1]["response"]["output"]
    assert [data["annotation"] for data in told] == message["content"][0]["annotations"]
    assert [data["annotation_index"] for data in told] == [0, 1, 2]
    assert names(events).index("response.output_text.annotation.added") < names(events).index(
        "response.output_text.done"
    )


def test_a_stream_of_a_response_tells_a_refusal_and_a_summary(serve):
    reply = Reply(refusal="No.", reasoning=["Hm."])
    events = list(response_stream(serve(Recorder(reply)), reasoning={"summary": "auto"}))
    data = dict(events)
    assert data["response.refusal.delta"]["delta"] == data["response.refusal.done"]["refusal"] == "No."
    assert data["response.reasoning_summary_text.delta"]["delta"] == "Hm."
    assert "response.output_text.delta" not in data
    for name, each in events:
        checked_event(name, each)


# --- threads --------------------------------------------------------------------------------------------------------


def test_the_citations_of_a_message_say_which_part_of_the_text_they_mark(serve):
    message, _ = run_of(serve(Recorder(CITED)))
    url, file, path = message["content"][0]["text"]["annotations"]
    assert url == {
        "type": "url_citation",
        "text": "[1]",
        "start_index": 5,
        "end_index": 8,
        "url_citation": {"url": "https://example.org", "title": "Weather"},
    }
    assert file == {
        "type": "file_citation",
        "text": "[1]",
        "start_index": 16,
        "end_index": 19,
        "file_citation": {"file_id": "file-1"},
    }
    assert (path["text"], path["start_index"], path["file_path"]) == ("wet", 12, {"file_id": "file-2"})
    message["content"][0]["text"]["annotations"] = [file, path]
    checked("MessageObject", message)


def test_hosted_tools_are_a_step_of_the_run_before_its_message(serve):
    _, (tools, message) = run_of(serve(Recorder(USED)))
    assert (tools["type"], tools["status"], message["type"]) == ("tool_calls", "completed", "message_creation")
    files, code, read, write = tools["step_details"]["tool_calls"]
    assert files["file_search"]["results"] == [
        {
            "file_id": "file-1",
            "file_name": "notes.txt",
            "score": 0.5,
            "content": [{"type": "text", "text": "Wet."}],
        }
    ]
    assert code["code_interpreter"] == {"input": "print(1)", "outputs": [{"type": "logs", "logs": "1"}]}
    assert (read["type"], read["server_label"], read["output"]) == ("mcp", "files", "Hello")
    assert write["output"] == "No space."
    # OpenAI's document has no calls of remote servers on threads; Azure's has.
    tools["step_details"]["tool_calls"] = [files, code]
    checked("RunStepObject", tools)


def test_an_image_that_was_made_for_a_thread_is_a_file_that_clients_download(serve):
    api = serve(Recorder(USED))
    message, _ = run_of(api)
    assert [part["type"] for part in message["content"]] == ["text", "image_file"]
    checked("MessageObject", message)
    file = checked("OpenAIFile", api.get(f"/files/{message['content'][1]['image_file']['file_id']}"))
    assert (file["purpose"], file["filename"]) == ("assistants_output", "image.png")
    content = api.session.get(f"{api.server.base_url}/files/{file['id']}/content", timeout=10).content
    assert content == PNG


def test_a_refusal_on_a_thread_is_a_part_of_the_message_that_the_model_reads_again(serve):
    model = Recorder(Reply(refusal="No."), "Fine.")
    api = serve(model)
    thread = api.thread("Hello")
    api.see(api.run(thread), "completed")
    message = checked("MessageObject", api.get(f"/threads/{thread}/messages")["data"][0])
    assert message["content"] == [{"type": "refusal", "refusal": "No."}]
    api.see(api.run(thread), "completed")
    assert [each["content"] for each in model.requests[1].messages] == ["Hello", "No."]


def test_hosted_tools_and_images_are_not_shown_to_the_model_again(serve):
    model = Recorder(USED, "Again.")
    api = serve(model)
    thread = api.thread("Hello")
    for _ in range(2):
        api.see(api.run(thread), "completed")
    assert model.requests[1].messages == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Done."},
    ]


@pytest.mark.parametrize("call", [ToolCall("get"), ApprovalRequest("delete")])
def test_hosted_tools_may_come_before_calls_that_the_client_answers(serve, call):
    model = Recorder(Reply(calls=(call,), hosted=[CodeInterpreter("1"), McpCall("read")]), "Done.")
    api = serve(model)
    run = api.play("Hello")
    [asked] = next(iter(run["required_action"][run["required_action"]["type"]].values()))
    answer = {"tool_call_id": asked["id"]}
    outputs = {"tool_outputs": [answer | {"output": "1"}]}
    body = {"tool_approvals": [answer | {"approve": True}]} if isinstance(call, ApprovalRequest) else outputs
    api.post(f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs", body)
    api.see(run, "completed")
    assert [len(message.get("tool_calls", ())) for message in model.requests[1].messages] == [0, 1, 0]


@pytest.mark.parametrize("model", [Recorder(USED), Pieces(USED)])
def test_the_events_of_a_run_tell_its_tools_and_the_whole_message(serve, model):
    events = list(run_stream(serve(model), "Hello"))
    for name, data in events:
        checked_event(name, data) if "mcp" not in str(data) else None
    deltas = [data["delta"]["step_details"]["tool_calls"][0] for name, data in events if name.endswith("step.delta")]
    assert [(call["index"], call["type"]) for call in deltas] == [
        (0, "file_search"),
        (1, "code_interpreter"),
        (2, "mcp"),
        (3, "mcp"),
    ]
    assert names(events).count("thread.run.step.completed") == 2
    parts = [data["delta"]["content"][0] for name, data in events if name == "thread.message.delta"]
    assert "".join(part["text"]["value"] for part in parts if part["type"] == "text") == "Done."
    message = next(data for name, data in events if name == "thread.message.completed")
    assert parts[-1] == {"index": 1} | message["content"][1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("model", [Recorder(CITED, USED), Pieces(CITED)])
def test_the_sdk_puts_the_pieces_of_an_answer_together(serve, model):
    api = serve(model)
    with openai.OpenAI(base_url=api.server.base_url, api_key="sk-none", max_retries=0, timeout=10) as sdk:
        with sdk.beta.threads.create_and_run_stream(assistant_id="asst_1") as stream:
            [snapshot] = stream.get_final_messages()
        kept = sdk.beta.threads.messages.retrieve(snapshot.id, thread_id=snapshot.thread_id)
        assert snapshot.content[0].text.value == kept.content[0].text.value == CITED.text
        assert snapshot.content[0].text.annotations == kept.content[0].text.annotations
        with sdk.responses.stream(model="m", input="Hello", reasoning={"summary": "auto"}) as stream:
            for event in stream:
                assert event.type
            final = stream.get_final_response()
        kept = sdk.responses.retrieve(final.id)
        assert [item.id for item in final.output] == [item.id for item in kept.output]
        assert final.output[-1].content[0].annotations == kept.output[-1].content[0].annotations
        assert final.output_text == kept.output_text != ""


# --- models ---------------------------------------------------------------------------------------------------------


def test_citations_of_a_text_that_was_cut_off_are_left_out(serve):
    text = "x" * 100 + " [1]"
    marks = [UrlCitation("xx", "https://a.example"), UrlCitation("[1]", "https://b.example")]
    response = serve(Recorder(Reply(text, annotations=marks))).answered("Hello", "incomplete", max_output_tokens=16)
    [annotation] = response["output"][0]["content"][0]["annotations"]
    assert annotation["url"] == "https://a.example"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reply("a", annotations=[UrlCitation("b", "https://a.example")]),
        lambda: Reply("a", annotations=[UrlCitation("", "https://a.example")]),
        lambda: Reply("a", annotations=["a"]),
        lambda: Reply("a", hosted=["a"]),
        lambda: Reply("a", reasoning="a"),
        lambda: Reply("a", reasoning=[7]),
        lambda: Reply("a", refusal=7),
        lambda: Reply("a", hosted=[MadeImage("text")]),
        lambda: Reply("a", hosted=[WebSearch(7)]),
        lambda: Reply("a", hosted=[FileSearch("one text")]),
        lambda: Reply("a", hosted=[FileSearch(["a"], ["b"])]),
        lambda: Reply("a", hosted=[McpCall("a", {"b": {1}})]),
    ],
)
def test_an_answer_with_a_wrong_part_fails_the_run(serve, make):
    run = serve(lambda _request: make()).play("Hello")
    assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")


def test_unpaired_surrogates_in_a_part_become_question_marks(serve):
    reply = Reply("a", refusal="\ud800", hosted=[McpCall("a\ud800", {"b": "\ud800"}, "\ud800")], reasoning=["\ud800"])
    *_, call, message = serve(Recorder(reply)).answered("Hello", reasoning={"summary": "auto"})["output"]
    assert (call["name"], call["output"], message["content"][1]["refusal"]) == ("a?", "?", "?")


SCRIPT = """
otherwise:
  say: "Oslo is wet [{message}]."
  pieces: 2
  cite:
    - {text: "[{message}]", url: "https://example.org/{message}", title: Weather}
    - {text: Oslo, file: file-1, name: notes.txt}
    - {text: wet, path: file-2}
  think: [I look it up., "About {message}."]
  use:
    - web_search: {query: "{message}", urls: ["https://example.org"]}
    - file_search: {queries: [Oslo], results: [{file: file-1, name: notes.txt, text: Wet., score: 0.9}]}
    - code_interpreter: {code: "print(1)", logs: "1"}
    - mcp: {server: files, name: read, arguments: {name: "{message}"}, output: Hello}
    - image: iVBORw0KGgo=
"""


def test_a_script_has_keys_for_all_parts_and_fills_in_their_placeholders(serve):
    api = serve(ScriptedModel.from_yaml(SCRIPT))
    response = checked("Response", api.answered("1", reasoning={"summary": "auto"}, include=ALL))
    reasoning, web, files, code, mcp, image, message = response["output"]
    assert [part["text"] for part in reasoning["summary"]] == ["I look it up.", "About 1."]
    assert (web["action"]["query"], files["results"][0]["score"], code["code"]) == ("1", 0.9, "print(1)")
    assert (mcp["server_label"], mcp["arguments"], image["result"]) == ("files", '{"name":"1"}', "iVBORw0KGgo=")
    marks = message["content"][0]["annotations"]
    assert [mark["type"] for mark in marks] == ["url_citation", "file_citation", "file_path"]
    assert marks[0]["url"] == "https://example.org/1"


def test_a_script_can_refuse(serve):
    response = serve(ScriptedModel(otherwise={"refuse": "Not {message}."})).answered("that")
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "Not that."}]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"refuse": " "}, "otherwise.refuse must be text"),
        ({"say": "a", "refuse": "b"}, "otherwise needs exactly one of 'say', 'refuse'"),
        ({"say": "a", "cite": "b"}, "otherwise.cite must be a list of citations"),
        ({"say": "a", "cite": [{"text": "a"}]}, "otherwise.cite[0] needs exactly one of 'url', 'file' and 'path'"),
        ({"say": "a", "cite": [{"text": "a", "link": "b"}]}, "otherwise.cite[0] has the unknown key 'link'"),
        ({"refuse": "a", "cite": [{"text": "a", "url": "b"}]}, "otherwise has 'cite', so it needs a text to 'say'"),
        ({"say": "a", "use": [{}]}, "otherwise.use[0] needs exactly one of web_search, file_search"),
        ({"say": "a", "use": [{"image": "???"}]}, "otherwise.use[0] has an 'image' that is not base64"),
        ({"say": "a", "use": [{"web_search": {}}]}, "otherwise.use[0].web_search.query must be text"),
        ({"say": "a", "use": [{"mcp": {"name": "b", "args": 1}}]}, "use[0].mcp has the unknown key 'args'"),
        ({"say": "a", "think": 7}, "otherwise.think must be text or a list of texts"),
        (
            {"fail": {"code": "a", "message": "b"}, "think": "c"},
            "otherwise has a 'fail', so it has no answer to add to",
        ),
    ],
)
def test_a_script_with_a_wrong_part_gets_one_sentence_that_names_the_place(step, words):
    with pytest.raises(ValueError, match=r"\.$") as caught:
        ScriptedModel(otherwise=step)
    assert words in str(caught.value)


def test_an_agent_hears_the_reasoning_and_the_tools_of_a_response():
    assistant = Assistant("gpt-4o", options={"reasoning": {"summary": "auto"}})
    heard = []
    with (
        LocalServer(Recorder(USED)) as server,
        Runtime(ResponsesBackend(server.base_url, assistants={"guide": assistant})) as runtime,
    ):
        agent = runtime.start("guide", subscribe=lambda agent, event: heard.append(event))
        answer = agent.ask("Hello", timeout=60)
    assert [message.reasoning for message in answer.messages if message.content] == ["I look it up.\n\nThen I say it."]
    used = [event.kind for event in heard if isinstance(event, events.HostedToolUsed)]
    assert used == ["web_search", "file_search", "code_interpreter", "mcp", "mcp", "image_generation"]
