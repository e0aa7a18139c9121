"""Messages with images and files, as a program sends them."""

import logging
import os

import pytest

from gpt_agent_fsm import File, Image, Runtime, Settings, Text, errors, events
from gpt_agent_fsm.events.media import digest_of
from gpt_agent_fsm.ports import Citation
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.crashing import StoreHandle

PATIENCE = 60
PNG = b"\x89PNG\r\n\x1a\n and more"
PHOTO, REPORT = Image(url="https://e.com/a.png"), File(file_id="file_1")


class TextServer(SimulatedServer):
    """A backend that knows nothing of parts."""

    refused_parts = None
    post_parts = None


class Choosy(SimulatedServer):
    """A backend that takes no files."""

    def refused_parts(self, parts):
        return "Files are not taken." if any(isinstance(part, File) for part in parts) else None


def the_message(world, agent):
    return world.server.messages(agent.thread_id)[0]


def said(world):
    return [event for event in world.heard if isinstance(event, events.UserMessageAdded)]


@pytest.mark.parametrize("method", ["ask", "add_user_message"])
def test_a_message_is_posted_with_its_parts_in_order(world, method):
    agent = world.connect()
    getattr(agent, method)(["Compare", PHOTO, Text("with"), Image(file_id="file_2"), REPORT])
    assert agent.wait(timeout=PATIENCE) == "idle"
    message = the_message(world, agent)
    assert message.parts == (Text("Compare"), PHOTO, Text("with"), Image(file_id="file_2"), REPORT)
    assert message.content == "Compare\nwith"
    (event,) = said(world)
    assert (event.content, event.parts) == ("Compare\nwith", message.parts)


@pytest.mark.parametrize("content", ["One", ["One"], [Text("One")], ("One",)])
def test_a_message_of_texts_is_posted_as_one_text(content):
    server = TextServer()
    with Runtime(server, scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("asst_1")
        agent.ask([*content, "Two"] if not isinstance(content, str) else content, timeout=PATIENCE)
        (event, *_) = [record.event for record in runtime.history(agent.thread_id)]
    assert server.messages(agent.thread_id)[0].content in ("One", "One\nTwo")
    assert event.parts == ()


def test_the_citations_of_a_text_that_was_heard_are_not_sent(world):
    agent = world.connect()
    agent.ask([Text("Oslo", annotations=(Citation(url="https://e.com"),)), PHOTO], timeout=PATIENCE)
    assert the_message(world, agent).parts[0] == Text("Oslo")


def test_files_are_read_when_the_message_is_accepted(world, tmp_path):
    picture, table = tmp_path / "a.png", tmp_path / "table.csv"
    picture.write_bytes(PNG)
    table.write_bytes(b"a,b")
    agent = world.connect()
    agent.add_user_message([Image(path=picture), File(path=str(table)), File(path=table, name="other.csv")])
    picture.unlink()
    table.unlink()
    agent.wait(timeout=PATIENCE)
    assert the_message(world, agent).parts == (
        Image(data=PNG),
        File(data=b"a,b", name="table.csv"),
        File(data=b"a,b", name="other.csv"),
    )


class Named:
    """A path of another kind than those of `pathlib`."""

    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return self._path


def test_any_path_is_read_even_if_its_name_is_not_utf_8(world, tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(odd, "wb") as file:
        file.write(b"a,b")
    agent = world.connect()
    agent.add_user_message([File(path=Named(os.fsdecode(odd))), File(path=Named(odd))])
    agent.wait(timeout=PATIENCE)
    assert the_message(world, agent).parts == (File(data=b"a,b", name="?.txt"), File(data=b"a,b", name="?.txt"))


def test_a_data_url_is_sent_as_its_data(world):
    agent = world.connect()
    agent.ask([Image(url="data:image/png;base64,iVBORw0KGgou")], timeout=PATIENCE)
    assert the_message(world, agent).parts == (Image(data=b"\x89PNG\r\n\x1a\n."),)


def test_the_history_has_the_digest_of_data_instead_of_the_data(world):
    agent = world.connect()
    agent.ask([Image(data=bytearray(PNG)), File(data=b"a,b", name="t.csv"), PHOTO], timeout=PATIENCE)
    (event,) = said(world)
    assert event.parts == (
        Image(digest=digest_of(PNG)),
        File(digest=digest_of(b"a,b"), name="t.csv"),
        PHOTO,
    )


def test_a_message_with_parts_survives_a_crash_before_it_is_sent():
    server, store = SimulatedServer(), MemoryStore()
    first = Runtime(server, store=StoreHandle(store), scheduler=VirtualScheduler())
    agent = first.start("a")
    agent.add_user_message(["Look", Image(data=PNG)])
    with Runtime(server, store=StoreHandle(store), scheduler=VirtualScheduler()) as second:
        second.agents[0].wait(timeout=PATIENCE)
    assert server.messages(agent.thread_id)[0].parts == (Text("Look"), Image(data=PNG))


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (7, ValueError, "the message must be a string or a list of str, Text, Image and File objects, not int"),
        (PHOTO, ValueError, "must be a string or a list of .*, not Image"),
        ([], ValueError, "the message must have at least one part"),
        (["Hello", " "], ValueError, "part 2 of the message must not be blank"),
        ([Text("half: \ud83d"), PHOTO], ValueError, "part 1 of the message contains an unpaired surrogate"),
        ([PHOTO, b"bytes"], TypeError, "part 2 of the message must be a str, Text, Image or File object, not bytes"),
        ([Image()], ValueError, "Image must have exactly one of url, file_id, data and path, but has none of them"),
        ([File(name="a")], ValueError, "File must have exactly one of .* none of them"),
        ([Image(url="https://e.com", data=PNG)], ValueError, "exactly one of .*, but has url and data"),
        ([File(file_id="f", path="p")], ValueError, "exactly one of .*, but has file_id and path"),
        ([Image(digest="sha256:00")], ValueError, "exactly one of .* none of them"),
        ([Image(url=" ")], ValueError, "part 1 of the message: url must not be blank"),
        ([Image(file_id=7)], ValueError, "file_id must be a string"),
        ([File(url=b"https://e.com")], ValueError, "url must be a string"),
        ([Image(url="data:image/png,abc")], ValueError, "the data URL must be encoded in base64"),
        ([Image(data="text")], TypeError, "data must be bytes, not str"),
        ([Image(data=b"")], ValueError, "part 1 of the message is empty"),
        ([Image(data=b"<svg/>")], ValueError, "part 1 of the message is not a PNG, JPEG, GIF or WebP image"),
        ([File(data=b"x", name=" ")], ValueError, "name must not be blank"),
        ([File(file_id="f", tools="file_search")], TypeError, "tools must be a tuple of names"),
        ([File(file_id="f", tools=())], TypeError, "tools must be a tuple of names"),
        ([Image(path="/no/such/file.png")], ValueError, "part 1 of the message cannot be read: .*No such file"),
        ([File(path="/")], ValueError, "cannot be read: .*directory"),
        ([File(path="a\0b")], ValueError, "cannot be read: embedded null"),
        ([File(path=7)], ValueError, "path must be the path of a file, not 7"),
    ],
)
@pytest.mark.parametrize("method", ["ask", "add_user_message"])
def test_a_wrong_part_is_refused_and_nothing_is_queued(world, method, content, error, reason):
    agent = world.connect()
    with pytest.raises(error, match=reason):
        getattr(agent, method)(content)
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert world.server.messages(agent.thread_id) == []


@pytest.mark.parametrize("content", [[Image(data=PNG)], [File(data=b"1234567890"), File(data=b"12345678901")]])
def test_more_data_than_the_setting_allows_must_be_uploaded_first(content, tmp_path):
    size = len(PNG) - 1
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    with Runtime(SimulatedServer(), Settings(max_part_bytes=size), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("asst_1")
        for each in (content, [Image(path=path)]):
            with pytest.raises(ValueError, match=f"more than {size} bytes .*: call runtime.upload first"):
                agent.add_user_message(each)
        agent.ask([File(data=b"x" * size)], timeout=PATIENCE)


def test_a_backend_that_takes_no_parts_is_named():
    with Runtime(TextServer(), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("asst_1")
        with pytest.raises(ValueError, match="TextServer cannot send images and files"):
            agent.add_user_message([PHOTO])
        assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_the_sentence_of_the_backend_is_raised_for_a_part_that_its_api_does_not_take():
    with Runtime(Choosy(), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("asst_1")
        agent.ask([PHOTO], timeout=PATIENCE)
        with pytest.raises(ValueError, match="Files are not taken"):
            agent.add_user_message([PHOTO, REPORT])


@pytest.mark.parametrize("later", [TextServer, Choosy])
def test_a_message_that_a_later_backend_cannot_send_parks_the_queue(later):
    server, store = SimulatedServer(), MemoryStore()
    first = Runtime(server, store=StoreHandle(store), scheduler=VirtualScheduler())
    thread_id = first.start("a").thread_id
    first.get(thread_id).add_user_message(["Read", REPORT])
    other = later()
    other._threads = server._threads
    with Runtime(other, store=StoreHandle(store), scheduler=VirtualScheduler()) as second:
        agent = second.agents[0]
        agent.wait(timeout=PATIENCE)
        assert agent.failure.parked
        assert agent.failure.operation == "post_message"
        agent.discard_queue()
        assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_neither_texts_nor_data_of_a_refused_message_reach_an_error_or_a_log(world, caplog):
    caplog.set_level(logging.DEBUG)
    secrets = ["https://e.com/a?token=secret", "private.csv", "Private words", "QUJD" * 20]

    def refuse(*_, **__):
        raise errors.RequestRefused(400, None, f"Refused: {' '.join(secrets)}", param="content")

    world.server.post_parts = refuse
    agent = world.connect()
    agent.add_user_message(["Private words", Image(url=secrets[0]), File(data=b"ABC" * 20, name="private.csv")])
    agent.wait(timeout=PATIENCE)
    (failed,) = [event for event in world.heard if isinstance(event, events.RequestFailed)]
    assert failed.message.startswith("Refused: ")
    for secret in secrets:
        assert secret not in failed.message + caplog.text
