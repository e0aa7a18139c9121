"""A server in memory for conversations and responses. Like the real one, it locks conversations and lists items late.

This server may be stricter than the real server. It refuses a second output for a call. It also refuses a new response
while a call has no output.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_fsm.backends.shared.content import sent_parts_of
from gpt_agent_fsm.backends.shared.sending import METADATA_KEY
from gpt_agent_fsm.backends.shared.values import text_of
from gpt_agent_fsm.errors import RequestRefused, ThreadBusy
from gpt_agent_fsm.ports import Message
from gpt_agent_fsm.testing.habits import Habits
from gpt_agent_fsm.testing.steps import LIMITED, Answer, Ask, Call, Fail, Linger, Planner, Step, Stuck, codes_of, echo

__all__ = ["SimulatedConversations"]

_ACTIVE = ("queued", "in_progress", "cancelling")
_MAX_LAG = 1.0
_RUN = "gpt_agent_fsm_run"

_ANSWERED_BY = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "local_shell_call": "local_shell_call_output",
    "mcp_approval_request": "mcp_approval_response",
}
"""The types of the items that the client must answer, each with the type of its answer."""
_HIDDEN = ("said", "conversation", "run", "events")
_APPROVAL = "mcp_approval_request"
_BY_ITEM_ID = (_APPROVAL, "local_shell_call")
"""The types of the items without a `call_id`. The answer to such an item names the item's own id."""

Doc = dict[str, Any]


@attrs.define
class _Item:
    doc: Doc
    run_id: str | None = None
    hidden_for: int = 0
    """A countdown. Each request for the list of items subtracts 1, and the list omits the item until 0 is reached.

    After `_MAX_LAG` seconds, the list always contains the item.
    """
    since: float = 0.0


@attrs.define
class _Conversation:
    doc: Doc
    items: list[_Item] = attrs.field(factory=list)
    steps: list[Step] = attrs.field(factory=list)
    """The remaining steps of the last run's plan."""
    active: str | None = None
    message_id: str | None = None
    """The id of the message that the stream of the active response has begun to send."""
    answered: dict[str, list[str]] = attrs.field(factory=dict)


class SimulatedConversations:
    """Handles `GET` and `POST` like a server of the Conversations API and the Responses API.

    Each poll of a response, and each request to its conversation, makes the run take the next step of its plan.

    Args:
        plan: a function that returns the steps of each run. By default, the run answers with the user's text.
        now: a function that returns the time in seconds.
        rng: the random numbers that decide how late the items of a response are listed; None to list them immediately.
        page_size: the largest number of items per page.
        habits: the differences between this server and OpenAI's server.

    Attributes:
        faults_off: True if, from now on, the server must obey cancels and end each run.
    """

    def __init__(
        self,
        plan: Planner = echo,
        *,
        now: Callable[[], float] = lambda: 0.0,
        rng: random.Random | None = None,
        page_size: int = 100,
        habits: Habits = Habits(),  # noqa: B008 - frozen
    ) -> None:
        self.habits = habits
        self.faults_off = False
        self._plan = plan
        self._now = now
        self._rng = rng
        self._page_size = page_size
        self._conversations: dict[str, _Conversation] = {}
        self._responses: dict[str, Doc] = {}
        self._count = 0
        self.streamed: dict[str, tuple[str, str]] = {}
        """See `SimulatedServer.streamed`."""

    # --- inspection by tests ------------------------------------------------------------------------------

    def create_thread(self, *, timeout: float) -> str:
        """Create a conversation and return its id."""
        del timeout
        return str(self.post("/conversations", {})["id"])

    def messages(self, thread_id: str) -> list[Message]:
        """Return the messages of a conversation, oldest first."""
        said = [item for item in self._conversations[thread_id].items if item.doc["type"] == "message"]
        return [
            Message(
                id=item.doc["id"],
                role=item.doc["role"],
                content=text_of(item.doc["content"]),
                run_id=item.run_id,
                parts=sent_parts_of(item.doc["content"]),
            )
            for item in said
        ]

    def outputs(self, thread_id: str) -> dict[str, list[str]]:
        """Return the outputs of each call of a conversation, in order. More than one output per call is a defect."""
        return dict(self._conversations[thread_id].answered)

    def calls_by_server(self, thread_id: str) -> frozenset[str]:
        """Return the ids of the calls that the server itself makes if they are approved."""
        docs = [item.doc for item in self._conversations[thread_id].items]
        return frozenset(doc["id"] for doc in docs if doc["type"] == _APPROVAL)

    def is_locked(self, thread_id: str) -> bool:
        """Return whether a response locks the conversation."""
        return self._conversations[thread_id].active is not None

    def is_stuck(self, thread_id: str) -> bool:
        """Return whether the active response ends only after `faults_off` is set.

        Such a response is in progress or being cancelled.
        """
        conversation = self._conversations[thread_id]
        if conversation.active is None:
            return False
        return conversation.steps[:1] == [Stuck()] or self._responses[conversation.active]["status"] == "cancelling"

    def failed_runs(self, thread_id: str) -> frozenset[str]:
        """Return the ids of the runs that have failed."""
        ended = [each for each in self._responses.values() if each["status"] not in (*_ACTIVE, "completed")]
        return frozenset(each["run"] for each in ended if each["conversation"] == thread_id)

    def tokens(self, thread_id: str) -> dict[str, int]:
        """Return how many tokens each run on a conversation has used: the sum over the responses of the run."""
        used: Counter[str] = Counter()
        for each in self._responses.values():
            if each["conversation"] == thread_id:
                used[each["run"]] += (each["usage"] or {}).get("total_tokens", 0)
        return used

    def run_keys(self, thread_id: str) -> list[str]:
        """Return the keys of all runs on a conversation that have a key, oldest run first."""
        made = [each["metadata"] for each in self._responses.values() if each["conversation"] == thread_id]
        return [metadata[METADATA_KEY] for metadata in made if METADATA_KEY in metadata]

    def start_run_elsewhere(self, thread_id: str, *steps: Step) -> str | None:
        """Create a response as another client would, and return its id.

        Return None if a response is active or a call has no output.
        """
        conversation = self._conversations[thread_id]
        if conversation.active is not None or self._open_calls(conversation):
            return None
        response = self._start(conversation, [], {})
        conversation.steps = list(steps or [Answer()])
        return str(response["id"])

    # --- requests ---------------------------------------------------------------------------------------------

    def get(self, path: str, params: Mapping[str, str]) -> Doc:
        """Answer a `GET`. Raises the same errors as the HTTP client."""
        match path.strip("/").split("/"):
            case ["conversations", thread_id]:
                return dict(self._conversation(thread_id).doc)
            case ["conversations", thread_id, "items"]:
                return self._list(self._conversation(thread_id), params)
            case ["responses", response_id]:
                response = self._response(response_id)
                if not self.faults_off:
                    self.habits.check_poll(response_id)
                self._progress(response)
                return self._view(response)
            case ["responses", response_id, "input_items"]:
                response = self._response(response_id)
                before = [item.doc for item in self._conversations[response["conversation"]].items]
                data = [*(before if self.habits.lists_context else ()), *response["said"]]
                return {"data": data[::-1], "has_more": False}
        raise RequestRefused(404, None, f"Invalid URL (GET {path})")

    def post(self, path: str, body: Doc) -> Doc:
        """Answer a `POST`. Raises the same errors as the HTTP client."""
        match path.strip("/").split("/"):
            case ["conversations"]:
                thread_id = self._new_id("conv")
                self._conversations[thread_id] = _Conversation({"id": thread_id, "metadata": {}})
                return dict(self._conversations[thread_id].doc)
            case ["conversations", thread_id]:
                self._conversation(thread_id).doc["metadata"] = dict(body["metadata"])
                return dict(self._conversation(thread_id).doc)
            case ["conversations", thread_id, "items"]:
                return {"data": self._add(self._conversation(thread_id), body["items"])}
            case ["responses"]:
                return self._view(self._create(body))
            case ["responses", response_id, "cancel"]:
                return self._view(self._cancel(self._response(response_id)))
        raise RequestRefused(404, None, f"Invalid URL (POST {path})")

    # --- the rules -----------------------------------------------------------------------------------------------

    def _new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _conversation(self, thread_id: str) -> _Conversation:
        if thread_id not in self._conversations:
            raise RequestRefused(404, None, f"Conversation with id '{thread_id}' not found.")
        conversation = self._conversations[thread_id]
        if conversation.active is not None:
            self._progress(self._responses[conversation.active])
        return conversation

    def _response(self, response_id: str) -> Doc:
        if response_id not in self._responses:
            raise RequestRefused(404, None, f"Response with id '{response_id}' not found.")
        return self._responses[response_id]

    def _view(self, response: Doc) -> Doc:
        shown = {name: value for name, value in response.items() if name not in _HIDDEN}
        return {**shown, "output": [self.habits.spelt_item(item) for item in shown.get("output", ())]}

    def _list(self, conversation: _Conversation, params: Mapping[str, str]) -> Doc:
        for item in conversation.items:
            late = abs(self._now() - item.since) > _MAX_LAG
            item.hidden_for = 0 if late else max(item.hidden_for - 1, 0)
        docs = [self.habits.shown(item.doc) for item in conversation.items if not item.hidden_for]
        if params.get("order") != "asc" and self.habits.order != "oldest first":
            docs.reverse()
        if self.habits.ignores_cursor:
            return {"data": docs, "has_more": False}
        after = params.get("after")
        if after is not None:
            ids = [doc["id"] for doc in docs]
            if after not in ids:
                raise RequestRefused(404, None, f"Item '{after}' not found.")
            docs = docs[ids.index(after) + 1 :]
        size = min(self._page_size, int(params.get("limit", "20")))
        return {"data": docs[:size], "has_more": len(docs) > size}

    def _check_lock(self, conversation: _Conversation) -> None:
        if conversation.active is not None:
            raise ThreadBusy(400, "conversation_locked", "Another process is operating on it.", locked=True)

    @staticmethod
    def _open_calls(conversation: _Conversation) -> list[str]:
        calls = [_asked_id(item.doc) for item in conversation.items if item.doc["type"] in _ANSWERED_BY]
        return [call_id for call_id in calls if call_id not in conversation.answered]

    def _check_outputs(self, conversation: _Conversation, docs: Sequence[Doc]) -> None:
        for doc in docs:
            if doc["type"] in _ANSWERED_BY.values() and _asked_id(doc) not in self._open_calls(conversation):
                raise RequestRefused(400, None, f"No tool call found for {_asked_id(doc)}.", param="input")

    def _put(self, conversation: _Conversation, docs: Sequence[Doc], run_id: str | None, hidden_for: int = 0) -> None:
        for doc in docs:
            conversation.items.append(_Item(doc, run_id, hidden_for, self._now()))
            if doc["type"] in _ANSWERED_BY.values():
                answer = doc.get("output", doc.get("approve"))
                conversation.answered.setdefault(_asked_id(doc), []).append(str(answer))

    def _add(self, conversation: _Conversation, docs: Sequence[Doc]) -> list[Doc]:
        self._check_lock(conversation)
        self._check_outputs(conversation, docs)
        for doc in docs:
            if doc["type"] == "message":
                self.habits.check_message(text_of(doc["content"]))
        added = [{**doc, "id": self._new_id("item")} for doc in docs]
        self._put(conversation, added, None)
        return added

    def _create(self, body: Doc) -> Doc:
        conversation, said = self._conversation(body["conversation"]), body.get("input") or []
        self._check_lock(conversation)
        self._check_outputs(conversation, said)
        given = {_asked_id(doc) for doc in said}
        for call_id in self._open_calls(conversation):
            if call_id not in given:
                raise RequestRefused(400, None, f"No tool output found for function call {call_id}.", param="input")
        if _RUN in body["metadata"]:
            return self._start(conversation, said, dict(body["metadata"]))
        texts = [message.content for message in self.messages(body["conversation"]) if message.role == "user"]
        self.habits.check_run(texts[-1] if texts else "")
        response = self._start(conversation, said, dict(body["metadata"]))
        conversation.steps = list(self._plan(texts[-1] if texts else ""))
        return response

    def _start(self, conversation: _Conversation, said: Sequence[Doc], metadata: Doc) -> Doc:
        response_id = self._new_id("resp")
        response: Doc = {
            "id": response_id,
            "status": "queued",
            "output": [],
            "error": None,
            "usage": None,
            "metadata": metadata,
            "conversation": conversation.doc["id"],
            "said": [{**doc, "id": self._new_id("item")} for doc in said],
            "run": str(metadata.get(_RUN, response_id)),
        }
        self._responses[response_id] = response
        conversation.active, conversation.message_id = response_id, None
        return response

    def _cancel(self, response: Doc) -> Doc:
        cancels = "obeyed" if self.faults_off else self.habits.cancels
        if cancels == "overtaken" and response["status"] in _ACTIVE:
            self._fail(response, LIMITED)
        if response["status"] in _ACTIVE:
            if cancels == "endless":
                response["status"] = "cancelling"
            elif cancels != "ignored":
                if not self.faults_off:
                    self.habits.check_cancel()
                self._end(response, "cancelled")
        elif cancels == "taken":
            response["status"] = "cancelled"
        elif response["status"] != "cancelled":
            raise RequestRefused(400, None, "Cannot cancel a completed response.")
        return response

    def _end(self, response: Doc, status: str) -> None:
        self._conversations[response["conversation"]].active = None
        response["status"] = status
        response["usage"] = {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}

    def _fail(self, response: Doc, why: Fail) -> None:
        self._end(response, "failed")
        response["error"] = {"code": codes_of(why.status, why.code), "message": why.message}

    def _progress(self, response: Doc) -> None:
        """Make an active response take the next step of its run's plan."""
        if response["status"] == "cancelling" and self.faults_off:
            self._end(response, "cancelled")
        if response["status"] not in ("queued", "in_progress"):
            return
        conversation = self._conversations[str(response["conversation"])]
        step = conversation.steps.pop(0) if conversation.steps else Answer("")
        response["status"] = "queued" if isinstance(step, Stuck) else "in_progress"
        match step:
            case Stuck() if self.faults_off:
                self._end(response, "expired")
            case Stuck():
                conversation.steps.insert(0, step)
            case Ask(kind=kind):
                self._complete(conversation, response, [self._ask(kind)])
            case Linger(looks=polls):
                if polls > 1:
                    conversation.steps.insert(0, Linger(polls - 1))
            case Call(calls=calls, by_server=by_server):
                asked = [self._call(*call) for call in calls]
                asked += [{**self._ask(_APPROVAL), "name": name, "arguments": text} for name, text in by_server]
                self._complete(conversation, response, asked)
            case Fail():
                self._fail(response, step)
            case Answer(text=text):
                message_id = conversation.message_id or self._new_id("msg")
                self.streamed[message_id] = response["run"], text
                self._complete(conversation, response, [_message(message_id, text)] if text else [])

    def _complete(self, conversation: _Conversation, response: Doc, output: list[Doc]) -> None:
        conversation.active = None
        response["status"], response["output"] = "completed", output
        response["usage"] = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        lag = 0 if self._rng is None else self._rng.choice([0, 0, 2, 3])
        self._put(conversation, [*response["said"], *output], response["run"], lag)

    def _call(self, name: str, arguments: str) -> Doc:
        number = re.sub(r"\D", "", self._new_id("n"))
        return {
            "id": f"fc_{number}",
            "type": "function_call",
            "call_id": f"call_{number}",
            "name": name,
            "arguments": arguments,
        }

    def _ask(self, kind: str) -> Doc:
        number = re.sub(r"\D", "", self._new_id("n"))
        return {"id": f"ask_{number}", "type": kind, "call_id": None if kind in _BY_ITEM_ID else f"call_{number}"}


def _message(message_id: str, text: str) -> Doc:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": message_id, "type": "message", "role": "assistant", "content": content}


def _asked_id(doc: Doc) -> str:
    """Return the id that an item and the answer to it have in common."""
    return str(doc.get("call_id") or doc.get("approval_request_id") or doc["id"])
