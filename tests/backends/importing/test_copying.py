"""The copy of a thread, and the threads and ids that are refused."""

import pytest

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.importing import IMPORTED_FROM, import_thread
from gpt_agent_fsm.errors import (
    AccessDenied,
    InvalidThreadId,
)
from tests.backends.importing.importer import KEY, Importer, talk

# --- the copy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 20, 21, 250])
def test_all_messages_are_copied_in_order_with_their_roles(local, importer, count):
    done = importer(local.thread(*talk(count)))
    assert local.told(done.conversation_id) == talk(count)
    assert (done.copied, done.total, done.left_out, done.messages_left_out) == (count, count, {}, 0)
    assert importer.pauses == []


def test_a_request_adds_at_most_20_messages(local, importer, wires):
    importer(local.thread(*talk(45)))
    assert [len(batch) for batch in wires.batches] == [20, 20, 5]


def test_the_conversation_names_the_thread_it_was_imported_from(local, importer):
    thread_id = local.thread("Hello")
    conversation_id = importer(thread_id).conversation_id
    assert IMPORTED_FROM == "gpt_agent_fsm_imported_from"
    assert local.ask("GET", f"/conversations/{conversation_id}")["metadata"] == {IMPORTED_FROM: thread_id}


def test_the_thread_is_not_changed(local, importer, wires):
    importer(local.thread(*talk(3)))
    assert {request.method for request in wires.sent if request.path.startswith("/threads")} == {"GET"}


def test_each_role_is_sent_in_the_shape_that_the_api_takes(local, importer, wires):
    importer(local.thread("How are you?", "> Well."))
    (batch,) = wires.batches
    assert batch == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "How are you?"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Well.", "annotations": []}],
        },
    ]


def test_texts_stay_as_they_are(local, importer):
    text = "  two\n\n  lines \t é 🙂 \x00 <b>&amp;</b>\r\n"
    assert local.told(importer(local.thread(text)).conversation_id) == [text]


def test_the_parts_of_a_message_stay_one_message(local, importer):
    parts = [{"type": "text", "text": text} for text in ("one", "two", "three")]
    thread_id = local.thread({"role": "user", "content": parts}, "four")
    assert local.told(importer(thread_id).conversation_id) == ["one|two|three", "four"]


def test_images_by_url_are_copied_with_the_users_text(local, importer):
    plain, fine = ({"type": "image_url", "image_url": {"url": f"https://example.com/{n}.png"}} for n in (1, 2))
    fine["image_url"]["detail"] = "high"
    thread_id = local.thread({"role": "user", "content": [{"type": "text", "text": "Look:"}, plain, fine]})
    done = importer(thread_id)
    (item,) = local.items(done.conversation_id)
    assert item["content"] == [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": "https://example.com/1.png", "detail": "auto"},
        {"type": "input_image", "image_url": "https://example.com/2.png", "detail": "high"},
    ]
    assert done.left_out == {}
    assert importer(thread_id, into=done.conversation_id).copied == 1


PNG = b"\x89PNG\r\n\x1a\n."


def test_images_and_files_of_the_same_server_are_copied_by_their_ids(local, importer, wires):
    photo = local.upload("a.png", PNG)
    notes = local.upload("notes.txt", b"Rain")
    content = [{"type": "text", "text": "Look"}, {"type": "image_file", "image_file": {"file_id": photo}}]
    attachments = [{"file_id": notes, "tools": [{"type": "code_interpreter"}, {"type": "file_search"}]}]
    message = {"role": "user", "content": content, "attachments": attachments}
    thread_id = local.thread(message, message)
    done = importer(thread_id)
    copied = [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "file_id": photo, "detail": "auto"},
        {"type": "input_file", "file_id": notes},
    ]
    assert [item["content"] for item in wires.batches[0]] == [copied, copied]
    assert (done.copied, done.left_out, done.messages_left_out) == (2, {}, 0)
    assert importer(thread_id, into=done.conversation_id) == done
    asked = [request.path for request in wires.sent if request.path.startswith("/files/")]
    assert asked == [f"/files/{photo}", f"/files/{notes}"] * 2


def test_a_file_for_another_tool_is_left_out(local, importer):
    data = local.upload("data.csv", b"1,2")
    attachments = [{"file_id": data, "tools": [{"type": "code_interpreter"}]}]
    done = importer(local.thread({"role": "user", "content": "Sum up", "attachments": attachments}))
    assert done.left_out == {"attachment": 1}


def test_files_of_another_server_are_left_out_although_it_knows_their_ids(local, server, wires):
    # The same server under another name counts as another server.
    elsewhere = ResponsesBackend(server.base_url.replace("127.0.0.1", "localhost"), KEY, assistants={})
    importer = Importer(wires.tap(AssistantsBackend(server.base_url, KEY)), wires.tap(elsewhere))
    content = [{"type": "text", "text": "Look"}]
    content.append({"type": "image_file", "image_file": {"file_id": local.upload("a.png", PNG)}})
    done = importer(local.thread({"role": "user", "content": content}))
    assert (done.copied, done.left_out) == (1, {"image_file": 1})


def test_a_report_follows_everything_that_is_added(local, importer):
    done = importer(local.thread(*talk(45)))
    assert [(report.copied, report.total) for report in importer.reports] == [(0, 45), (20, 45), (40, 45), (45, 45)]
    assert {report.conversation_id for report in importer.reports} == {done.conversation_id}
    assert importer.reports[-1] == done


def test_settings_report_and_sleep_are_optional(local, importer):
    done = import_thread(local.thread("Hello"), importer.source, importer.target)
    assert local.told(done.conversation_id) == ["Hello"]


# --- wrong options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("thread_id", "into"), [(" ", None), ("", None), ("thread_1", ""), ("thread_1", "\n")])
def test_a_blank_id_is_refused_before_anything_is_asked(importer, wires, thread_id, into):
    with pytest.raises(ValueError, match="the ids of the thread and of the conversation must not be blank"):
        importer(thread_id, into)
    assert wires.sent == []


def test_a_thread_that_is_not_there_makes_no_conversation(importer, wires):
    with pytest.raises(InvalidThreadId, match="knows no thread 'thread_none'"):
        importer("thread_none")
    assert [request.method for request in wires.sent] == ["GET"]
    assert importer.reports == importer.pauses == []


def test_a_conversation_that_is_not_there_is_named(local, importer):
    with pytest.raises(InvalidThreadId, match="knows no thread 'conv_none'"):
        importer(local.thread("Hello"), "conv_none")


def test_a_wrong_key_is_not_tried_again(server, local, wires):
    importer = Importer(
        wires.tap(AssistantsBackend(server.base_url, KEY)),
        wires.tap(ResponsesBackend(server.base_url, "sk-the-wrong-key", assistants={})),
    )
    with pytest.raises(AccessDenied) as caught:
        importer(local.thread("Hello"))
    assert "sk-" not in str(caught.value)
    assert importer.pauses == []


def test_backends_of_the_wrong_api_are_refused():
    assistants, responses = AssistantsBackend("http://a.test/v1"), ResponsesBackend("http://a.test/v1", assistants={})
    with pytest.raises(TypeError, match="target must be of ResponsesBackend, not of AssistantsBackend"):
        import_thread("thread_1", assistants, assistants)
    with pytest.raises(TypeError, match="source must be of AssistantsBackend, not of ResponsesBackend"):
        import_thread("thread_1", responses, responses)
