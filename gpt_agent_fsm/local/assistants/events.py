"""The events that a stream of the Assistants API sends for one turn of a run, in the documented order.

Text is sent as soon as the model yields it. The results of the turn are sent from the stored objects, after the turn
has ended. So if a client gets the event of a result and then requests the run, the run already contains the result.
"""

from collections.abc import Iterator, Sequence

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.assistants import hosted, lifecycle, objects
from gpt_agent_fsm.local.http import streams
from gpt_agent_fsm.local.http.error_responses import ApiProblem, closing, not_found
from gpt_agent_fsm.local.http.streams import Event
from gpt_agent_fsm.local.shared.clip import Clip
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.storage import Doc, Storage, StorageClosedError, Transaction


class RunEvents:
    """The events of one turn of a run.

    Create this object in the transaction that queues the turn, and iterate over it after the commit.
    """

    def __init__(self, tx: Transaction, storage: Storage, run: Doc, turn: LiveTurn, opening: Sequence[Event]) -> None:
        self._storage = storage
        self._run = run
        self._turn = turn
        self._opening = opening
        self._past = {step["id"] for step in tx.children("step", run["id"])}
        self._clip = Clip(lifecycle.tokens_left(tx, run))

    def __iter__(self) -> Iterator[Event | None]:
        """Yield each event when it happens, and `None` when there was no event for a while."""
        try:
            yield from self._opening
            yield from self._live()
            with self._storage.transaction() as tx:
                conclusion = list(self._conclusion(tx))
            yield from conclusion
            yield "done", "[DONE]"
        except StorageClosedError:
            yield "error", closing().body()
        except ApiProblem as problem:
            yield "error", problem.body()

    def _live(self) -> Iterator[Event | None]:
        for chunk in self._turn.follow(streams.KEEP_ALIVE):
            if chunk is None:
                yield None
            elif chunk == "":
                started = self._run["started_at"] or ids.now()
                yield "thread.run.in_progress", self._run | {"status": "in_progress", "started_at": started}
            else:
                first = not self._clip.length
                piece = self._clip(chunk)
                if first:
                    yield from self._message_begins(*self._drafts())
                if piece:
                    yield self._delta(0, objects.message_text_part(piece))

    def _drafts(self) -> tuple[Doc, Doc]:
        """Return the turn's step and message in their stored form, but without text and usage."""
        return objects.message_step(self._run, self._turn, {}), objects.answer(self._run, self._turn, [])

    def _message_begins(self, step: Doc, message: Doc) -> Iterator[Event]:
        yield from _step_begins(step)
        begun = message | {"status": "in_progress", "content": [], "completed_at": None}
        begun |= {"incomplete_at": None, "incomplete_details": None}
        yield "thread.message.created", begun
        yield "thread.message.in_progress", begun

    def _delta(self, index: int, part: Doc) -> Event:
        content = [{"index": index} | part]
        delta = {"id": self._turn.message_id, "object": "thread.message.delta", "delta": {"content": content}}
        return "thread.message.delta", delta

    def _conclusion(self, tx: Transaction) -> Iterator[Event]:
        run = tx.get("run", self._run["id"])
        if run is None:
            raise not_found("run", self._run["id"])
        steps = self._steps(tx)
        for step in steps:
            if hosted.is_hosted(step):
                yield from _hosted(step)
            elif step["type"] == "tool_calls":
                yield from _calls(step)
            else:
                yield from self._message_ends(tx, step)
        if steps and steps[-1]["type"] == "tool_calls":
            # Another client may have sent the outputs already, so the stored run may no longer require an action.
            action = objects.required_action(_asked(steps[-1]))
            yield "thread.run.requires_action", self._begun(run) | {"required_action": action}
            return
        if run["status"] in lifecycle.ACTIVE:
            raise closing()
        if self._clip.length and not steps:
            yield from self._broken_off(run)
        if run["status"] == "cancelled":
            yield "thread.run.cancelling", run | {"status": "cancelling", "cancelled_at": None}
        yield f"thread.run.{run['status']}", run

    def _begun(self, run: Doc) -> Doc:
        return self._run | {"status": "requires_action", "started_at": run["started_at"]}

    def _steps(self, tx: Transaction) -> list[Doc]:
        """Return the steps of this turn. A step that waits for the client is always the last step of a turn."""
        steps: list[Doc] = []
        for step in tx.children("step", self._run["id"]):
            if step["id"] not in self._past:
                steps.append(step)
                if step["type"] == "tool_calls" and not hosted.is_hosted(step):
                    break
        return steps

    def _message_ends(self, tx: Transaction, step: Doc) -> Iterator[Event]:
        message = tx.get("message", self._turn.message_id)
        if message is None:
            return  # the client has deleted it
        if not self._clip.length:
            yield from self._message_begins(step, message)
        for index, part in enumerate(message["content"]):
            if (rest := self._unsent(part)) is not None:
                yield self._delta(index, rest)
        yield f"thread.message.{message['status']}", message
        yield "thread.run.step.completed", step

    def _unsent(self, part: Doc) -> Doc | None:
        """Return the unsent rest of a part of the message. Return None if everything was sent.

        The rest of a text is its end with all its annotations.
        """
        if part["type"] != "text":
            return part
        text, annotations = part["text"]["value"][self._clip.length :], part["text"]["annotations"]
        if not text and not annotations:
            return None
        numbered = [{"index": index} | annotation for index, annotation in enumerate(annotations)]
        return objects.message_text_part(text, numbered)

    def _broken_off(self, run: Doc) -> Iterator[Event]:
        """Yield the events that end an unfinished message.

        Clients have received the beginning of the message, but the message will not be stored.
        """
        step, message = self._drafts()
        message |= {"content": [objects.message_text_part("".join(self._turn.chunks)[: self._clip.length])]}
        yield "thread.message.incomplete", objects.cut_off(message, f"run_{run['status']}")
        ended = {"status": run["status"], "completed_at": None, "usage": None, "last_error": run["last_error"]}
        yield f"thread.run.step.{run['status']}", step | ended | {f"{run['status']}_at": ids.now()}


def _step_begins(step: Doc) -> Iterator[Event]:
    begun = step | {"status": "in_progress", "completed_at": None, "usage": None}
    yield "thread.run.step.created", begun
    yield "thread.run.step.in_progress", begun


def _calls(step: Doc) -> Iterator[Event]:
    """Yield the events of tool calls. Each call is sent whole, because models do not yield calls in pieces."""
    begun = step | {"completed_at": None, "cancelled_at": None, "expired_at": None}
    yield from _step_begins(begun | {"step_details": {"type": "tool_calls", "tool_calls": []}})
    for index, call in enumerate(_asked(step)):
        details = {"type": "tool_calls", "tool_calls": [{"index": index} | call]}
        yield "thread.run.step.delta", _step_delta(step, details)


def _hosted(step: Doc) -> Iterator[Event]:
    """Yield the events of tools that the service has run itself."""
    called = step["step_details"]["tool_calls"]
    yield from _step_begins(step | {"step_details": {"type": "tool_calls", "tool_calls": []}})
    for index, call in enumerate(called):
        details = {"type": "tool_calls", "tool_calls": [{"index": index} | call]}
        yield "thread.run.step.delta", _step_delta(step, details)
    yield "thread.run.step.completed", step


def _step_delta(step: Doc, details: Doc) -> Doc:
    return {"id": step["id"], "object": "thread.run.step.delta", "delta": {"step_details": details}}


def _asked(step: Doc) -> list[Doc]:
    return [objects.as_asked(call) for call in step["step_details"]["tool_calls"]]
