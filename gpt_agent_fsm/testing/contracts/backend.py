"""The contract of a `Backend`, as a test class to inherit from."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping

from gpt_agent_fsm.errors import ApiError, InvalidThreadId, RequestRefused, ThreadBusy
from gpt_agent_fsm.ports import (
    Backend,
    FileBackend,
    Image,
    Message,
    PartsBackend,
    Run,
    RunRequest,
    RunStatus,
    StreamingBackend,
    Text,
    ToolOutputsRequest,
    UploadBackend,
    offers,
)

__all__ = ["BackendContract"]

_TIMEOUT = 10.0
_ASSISTANT = "asst_contract"
_OBJECT = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
_OPTIONS: Mapping[str, object] = {
    "instructions": "Be brief.",
    "additional_instructions": "Be kind.",
    "model": "another-model",
    "tool_choice": "auto",
    "metadata": {"user": "7"},
    "max_output_tokens": 1000,
    "output": {"name": "answer", "schema": _OBJECT, "strict": False},
}


class BackendContract:
    """The tests of a backend. To run them, write a subclass `Test...` in a test file, and implement `make_backend`.

    The last user message decides what a run on the server behind the backend must do:

    - `hello`: the run answers with any text.
    - `tools`: the run calls `f` with `{}` and `g` with `{"x": 1}`, and answers after it has got the outputs.
    - `fail`: the run fails with the code `server_error`.
    - `rate`: the run is rate limited.
    - `slow`: the run is in progress until it is cancelled.

    The server must know the assistant `asst_contract`.
    """

    def make_backend(self) -> Backend:
        """Return a backend whose server has the rules in the docstring of `BackendContract`."""
        raise NotImplementedError

    # --- helpers ---------------------------------------------------------------------------------------

    def _thread(self, backend: Backend) -> str:
        return backend.create_thread(timeout=_TIMEOUT)

    def _post(self, backend: Backend, thread_id: str, content: str, key: str = "key_1") -> str:
        message_id, _ = backend.post_message(thread_id, content, key=key, timeout=_TIMEOUT)
        return message_id

    def _run(self, backend: Backend, thread_id: str, content: str, key: str = "run_key_1") -> Run:
        self._post(backend, thread_id, content)
        return self._create(backend, thread_id, key)

    def _create(self, backend: Backend, thread_id: str, key: str = "run_key_1") -> Run:
        request = RunRequest(thread_id=thread_id, assistant_id=_ASSISTANT, key=key)
        return backend.create_run(request, timeout=_TIMEOUT)

    def _until(self, backend: Backend, thread_id: str, run: Run, *statuses: RunStatus) -> Run:
        deadline = time.monotonic() + _TIMEOUT
        while run.status not in statuses:
            assert time.monotonic() < deadline, f"run {run.id} is {run.status} and does not become {statuses}"
            run = backend.get_run(thread_id, run.id, handle=run.handle, timeout=_TIMEOUT)
        return run

    def _messages(self, backend: Backend, thread_id: str, *, newest_first: bool = False) -> list[Message]:
        messages: list[Message] = []
        after: str | None = None
        for _ in range(100):
            page = backend.list_messages(thread_id, after=after, newest_first=newest_first, timeout=_TIMEOUT)
            messages += page.messages
            after = page.next_after
            if after is None:
                return messages
        raise AssertionError("the pages of messages have no end")

    def _raises(self, kind: type[ApiError], call: Callable[[], object]) -> ApiError:
        try:
            call()
        except kind as error:
            assert str(error), "an error must have a message"
            return error
        raise AssertionError(f"{kind.__name__} was not raised")

    # --- threads ------------------------------------------------------------------------------------------------

    def test_a_backend_has_the_methods_of_the_port(self) -> None:
        backend = self.make_backend()
        assert offers(backend, Backend)
        backend.close()
        backend.close()

    def test_a_thread_that_was_created_is_known(self) -> None:
        backend = self.make_backend()
        backend.get_thread(self._thread(backend), timeout=_TIMEOUT)

    def test_an_unknown_thread_is_an_invalid_thread_id(self) -> None:
        backend = self.make_backend()
        self._raises(InvalidThreadId, lambda: backend.get_thread("thread_unknown", timeout=_TIMEOUT))

    def test_requests_to_an_unknown_thread_are_refused(self) -> None:
        backend = self.make_backend()
        for call in (
            lambda: backend.post_message("thread_unknown", "hello", key="k", timeout=_TIMEOUT),
            lambda: self._create(backend, "thread_unknown"),
            lambda: backend.list_runs("thread_unknown", limit=1, timeout=_TIMEOUT),
            lambda: backend.get_run("thread_unknown", "run_unknown", timeout=_TIMEOUT),
        ):
            self._raises(RequestRefused, call)

    # --- messages ---------------------------------------------------------------------------------------------------

    def test_a_posted_message_is_listed_with_its_text_and_its_key(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        message_id, kept = backend.post_message(thread_id, "hello — 你好\n", key="key_1", timeout=_TIMEOUT)
        (message,) = self._messages(backend, thread_id)
        assert (message.id, message.role, message.content) == (message_id, "user", "hello — 你好\n")
        assert message.key == ("key_1" if kept else None)

    def test_a_message_with_an_image_is_listed_with_it(self) -> None:
        backend = self.make_backend()
        if not offers(backend, PartsBackend):
            return
        thread_id, image = self._thread(backend), Image(url="https://example.org/cat.png")
        parts = (Text("hello"), image, Text("again"))
        assert backend.refused_parts(parts) is None
        message_id, kept = backend.post_parts(thread_id, parts, key="key_1", timeout=_TIMEOUT)
        (message,) = self._messages(backend, thread_id)
        assert (message.id, message.role, message.content) == (message_id, "user", "hello\nagain")
        assert message.key == ("key_1" if kept else None)
        # Some servers show that there is an image, but not which image it is.
        assert [part for part in message.parts if not isinstance(part, Text)] in ([image], [Image()])

    def test_messages_are_listed_in_both_directions_and_after_a_cursor(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        ids = [self._post(backend, thread_id, f"message {n}", f"key_{n}") for n in range(5)]
        assert [message.id for message in self._messages(backend, thread_id)] == ids
        assert [message.id for message in self._messages(backend, thread_id, newest_first=True)] == ids[::-1]
        page = backend.list_messages(thread_id, after=ids[2], newest_first=False, timeout=_TIMEOUT)
        assert [message.id for message in page.messages] == ids[3:][: len(page.messages)]

    def test_a_thread_without_messages_gives_an_empty_page(self) -> None:
        backend = self.make_backend()
        page = backend.list_messages(self._thread(backend), after=None, newest_first=False, timeout=_TIMEOUT)
        assert page.messages == ()
        assert page.next_after is None

    # --- files ------------------------------------------------------------------------------------------------------

    def test_a_file_that_was_uploaded_is_downloaded_again(self) -> None:
        backend, content = self.make_backend(), b"name,celsius\nOslo,2.5\n"
        if not offers(backend, UploadBackend) or not offers(backend, FileBackend):
            return
        try:
            file_id = backend.upload("table — 表.csv", content, "user_data", timeout=_TIMEOUT)
        except ApiError as error:
            assert error.status in (404, 405, 501), error
            return  # not every server of an API keeps files
        assert backend.upload("table.csv", content, "user_data", timeout=_TIMEOUT) != file_id
        assert backend.download(file_id, timeout=_TIMEOUT) == content

    # --- runs -------------------------------------------------------------------------------------------------------

    def test_a_run_completes_and_its_answer_names_it(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._run(backend, thread_id, "hello")
        run = self._until(backend, thread_id, run, RunStatus.COMPLETED)
        assert run.usage.total_tokens > 0
        answer = self._messages(backend, thread_id)[-1]
        # Either the list of messages names the run of each answer, or the run itself contains the answer.
        named = {message.id: message.run_id for message in (answer, *run.messages)}
        assert (answer.role, named[answer.id]) == ("assistant", run.id)
        assert answer.content

    def test_runs_are_listed_newest_first_with_their_keys(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        assert backend.list_runs(thread_id, limit=1, timeout=_TIMEOUT).runs == ()
        ids = []
        for number in range(3):
            run = self._run(backend, thread_id, "hello", f"run_key_{number}")
            ids.append(self._until(backend, thread_id, run, RunStatus.COMPLETED).id)
        listed = backend.list_runs(thread_id, limit=10, timeout=_TIMEOUT).runs
        # Some APIs can list only the newest run.
        assert [run.id for run in listed] == ids[::-1][: len(listed)]
        assert {run.key for run in listed} <= {"run_key_0", "run_key_1", "run_key_2", None}
        assert [run.id for run in backend.list_runs(thread_id, limit=1, timeout=_TIMEOUT).runs] == ids[-1:]

    def test_a_thread_with_a_run_in_progress_takes_neither_messages_nor_runs(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._run(backend, thread_id, "slow")
        assert run.status.locks_thread
        self._raises(ThreadBusy, lambda: backend.post_message(thread_id, "hello", key="k", timeout=_TIMEOUT))
        self._raises(ThreadBusy, lambda: self._create(backend, thread_id))

    def test_an_unknown_run_is_refused(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        self._raises(RequestRefused, lambda: backend.get_run(thread_id, "run_unknown", timeout=_TIMEOUT))
        self._raises(RequestRefused, lambda: backend.cancel_run(thread_id, "run_unknown", timeout=_TIMEOUT))

    def test_a_cancelled_run_ends_as_cancelled_and_frees_the_thread(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._run(backend, thread_id, "slow")
        run = backend.cancel_run(thread_id, run.id, handle=run.handle, timeout=_TIMEOUT)
        run = self._until(backend, thread_id, run, RunStatus.FAILED)
        assert run.code == "cancelled"
        assert run.message
        self._post(backend, thread_id, "hello")

    def test_a_run_that_has_ended_cannot_be_cancelled(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._until(backend, thread_id, self._run(backend, thread_id, "hello"), RunStatus.COMPLETED)
        self._raises(RequestRefused, lambda: backend.cancel_run(thread_id, run.id, handle=run.handle, timeout=_TIMEOUT))
        assert backend.get_run(thread_id, run.id, handle=run.handle, timeout=_TIMEOUT).status is RunStatus.COMPLETED

    def test_a_run_that_waits_for_tools_may_be_cancelled_and_frees_the_thread(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._until(backend, thread_id, self._run(backend, thread_id, "tools"), RunStatus.NEEDS_TOOLS)
        run = backend.cancel_run(thread_id, run.id, handle=run.handle, timeout=_TIMEOUT)
        if run.status is not RunStatus.FAILED:
            run = self._until(backend, thread_id, run, RunStatus.FAILED)
        assert run.code == "cancelled"
        run = self._run(backend, thread_id, "hello", "run_key_2")
        self._until(backend, thread_id, run, RunStatus.COMPLETED)

    def test_failures_carry_their_code_and_message(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._until(backend, thread_id, self._run(backend, thread_id, "fail"), RunStatus.FAILED)
        assert run.code == "server_error"
        assert run.message
        run = self._run(backend, thread_id, "rate")
        assert self._until(backend, thread_id, run, RunStatus.RATE_LIMITED).message

    def test_every_option_that_a_backend_names_is_taken(self) -> None:
        backend = self.make_backend()
        for name in sorted(getattr(backend, "run_options", ())):
            thread_id = self._thread(backend)
            self._post(backend, thread_id, "hello")
            options = {name: _OPTIONS[name]}
            request = RunRequest(thread_id=thread_id, assistant_id=_ASSISTANT, key="run_key_1", options=options)
            run = backend.create_run(request, timeout=_TIMEOUT)
            self._until(backend, thread_id, run, RunStatus.COMPLETED)

    def test_the_pieces_of_a_stream_are_the_text_of_the_answer(self) -> None:
        backend = self.make_backend()
        if not offers(backend, StreamingBackend):
            return
        thread_id = self._thread(backend)
        self._post(backend, thread_id, "hello")
        request = RunRequest(thread_id=thread_id, assistant_id=_ASSISTANT, key="run_key_1")
        run, stream = backend.create_run_streamed(request, timeout=_TIMEOUT)
        if stream is None:
            return  # not every server of an API has streams
        pieces = list(iter(lambda: stream.next_piece(silence=_TIMEOUT), None))
        self._until(backend, thread_id, run, RunStatus.COMPLETED)
        answers = [each for each in self._messages(backend, thread_id) if each.role == "assistant"]
        assert "".join(piece.text for piece in pieces) == answers[-1].content
        assert {piece.message_id for piece in pieces} == {answers[-1].id}
        stream.close()
        stream.close()
        assert stream.next_piece(silence=_TIMEOUT) is None

    def test_a_run_that_asks_for_tools_is_continued_as_a_stream(self) -> None:
        backend = self.make_backend()
        if not offers(backend, StreamingBackend):
            return
        thread_id = self._thread(backend)
        run = self._until(backend, thread_id, self._run(backend, thread_id, "tools"), RunStatus.NEEDS_TOOLS)
        outputs = tuple((call.id, "1") for call in run.tool_calls)
        request = ToolOutputsRequest(
            thread_id=thread_id, run_id=run.id, outputs=outputs, assistant_id=_ASSISTANT, handle=run.handle
        )
        after, stream = backend.submit_tool_outputs_streamed(request, timeout=_TIMEOUT)
        assert after.id == run.id
        if stream is not None:
            pieces = list(iter(lambda: stream.next_piece(silence=_TIMEOUT), None))
            assert "".join(piece.text for piece in pieces)
        self._until(backend, thread_id, after, RunStatus.COMPLETED)

    def test_a_closed_stream_ends_and_its_run_continues(self) -> None:
        backend = self.make_backend()
        if not offers(backend, StreamingBackend):
            return
        thread_id = self._thread(backend)
        self._post(backend, thread_id, "hello")
        request = RunRequest(thread_id=thread_id, assistant_id=_ASSISTANT, key="run_key_1")
        run, stream = backend.create_run_streamed(request, timeout=_TIMEOUT)
        if stream is not None:
            stream.close()
            assert stream.next_piece(silence=_TIMEOUT) is None
        self._until(backend, thread_id, run, RunStatus.COMPLETED)

    # --- tools ------------------------------------------------------------------------------------------------------

    def test_tool_calls_are_answered_together_and_once(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._until(backend, thread_id, self._run(backend, thread_id, "tools"), RunStatus.NEEDS_TOOLS)
        assert [call.name for call in run.tool_calls] == ["f", "g"]
        assert [call.arguments.replace(" ", "") for call in run.tool_calls] == ["{}", '{"x":1}']
        assert len({call.id for call in run.tool_calls}) == 2
        outputs = [(call.id, f'"{number}"') for number, call in zip(itertools.count(), run.tool_calls)]
        self._raises(RequestRefused, lambda: self._submit(backend, thread_id, run, outputs[:1]))
        after = self._submit(backend, thread_id, run, outputs)
        self._until(backend, thread_id, after, RunStatus.COMPLETED)
        try:
            again = self._submit(backend, thread_id, run, outputs)
        except RequestRefused:
            return
        assert again.status is RunStatus.COMPLETED, "outputs that the server already has must not be accepted again"

    def test_a_run_is_found_again_without_the_handle_it_was_last_seen_with(self) -> None:
        backend = self.make_backend()
        thread_id = self._thread(backend)
        run = self._until(backend, thread_id, self._run(backend, thread_id, "tools"), RunStatus.NEEDS_TOOLS)
        found = backend.get_run(thread_id, run.id, handle=None, timeout=_TIMEOUT)
        assert (found.id, found.status, found.tool_calls) == (run.id, RunStatus.NEEDS_TOOLS, run.tool_calls)
        after = self._submit(backend, thread_id, run, [(call.id, "1") for call in run.tool_calls])
        self._until(backend, thread_id, after, RunStatus.COMPLETED)
        found = backend.get_run(thread_id, run.id, handle=None, timeout=_TIMEOUT)
        assert (found.id, found.status) == (run.id, RunStatus.COMPLETED)

    def _submit(self, backend: Backend, thread_id: str, run: Run, outputs: list[tuple[str, str]]) -> Run:
        request = ToolOutputsRequest(
            thread_id=thread_id, run_id=run.id, outputs=tuple(outputs), assistant_id=_ASSISTANT, handle=run.handle
        )
        return backend.submit_tool_outputs(request, timeout=_TIMEOUT)
