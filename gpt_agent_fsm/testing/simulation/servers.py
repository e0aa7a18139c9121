"""The server of a life, and the backends that reach it through the faulty network."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.assistants.wire import converter as assistants_converter
from gpt_agent_fsm.backends.responses import ResponsesBackend
from gpt_agent_fsm.ports import Backend
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.conversation_streams import StreamedConversations
from gpt_agent_fsm.testing.crashing import StoreHandle
from gpt_agent_fsm.testing.faulty_http import FaultyHttp
from gpt_agent_fsm.testing.faulty_stream import CALM, StreamFaults, StreamHabit
from gpt_agent_fsm.testing.network import FaultyNetwork
from gpt_agent_fsm.testing.server import SimulatedServer
from gpt_agent_fsm.testing.simulation.troubles import Troubles, Wire
from gpt_agent_fsm.testing.steps import Step
from gpt_agent_fsm.testing.threads_api import SimulatedThreads

__all__ = ["Server", "make_server"]

Server: TypeAlias = SimulatedServer | StreamedConversations
_STREAM_HABITS: dict[StreamHabit, float] = {"streams": 0.7, "refuses": 0.1, "fails": 0.1, "hangs_up": 0.1}
"""Each habit with its probability."""
_ASSISTANTS = {"asst_1": Assistant("m"), "asst_2": Assistant("n")}


def make_server(
    wire: Wire,
    troubles: Troubles,
    network: FaultyNetwork,
    scheduler: VirtualScheduler,
    rng: random.Random,
    plan: Callable[[], Sequence[Step]],
    *,
    keeps_keys: bool,
    has_streams: bool,
) -> tuple[Server, Callable[[StoreHandle], Backend]]:
    """Return a server of the API, and a function that takes a process's store object and returns its backend."""
    page_size = rng.choice([2, 3, 100])
    fate = random.Random(f"streams {rng.random() if has_streams else 0}")  # noqa: S311 - decides what streams do
    (habit,) = fate.choices(list(_STREAM_HABITS), list(_STREAM_HABITS.values()))

    def faults() -> StreamFaults:
        return CALM if network.faults_off else StreamFaults()

    if wire == "assistants":
        runs = SimulatedServer(lambda _: plan(), keeps_keys=keeps_keys, page_size=page_size, habits=troubles.habits)

        def make_assistants(sender: StoreHandle) -> Backend:
            backend = AssistantsBackend(FaultyHttp.base_url, "k")
            backend._http = FaultyHttp(  # type: ignore[assignment]
                SimulatedThreads(runs),
                network,
                converter=assistants_converter,
                sender=sender,
                stream_faults=faults,
                stream_habit=habit,
                rng=fate,
            )
            return backend

        return runs, make_assistants
    conversations = StreamedConversations(
        lambda _: plan(), now=scheduler.clock.monotonic, rng=rng, habits=troubles.habits
    )

    def make_responses(sender: StoreHandle) -> Backend:
        backend = ResponsesBackend(FaultyHttp.base_url, "k", assistants=_ASSISTANTS)
        backend._http = FaultyHttp(  # type: ignore[assignment]
            conversations, network, sender=sender, stream_faults=faults, stream_habit=habit, rng=fate
        )
        return backend

    return conversations, make_responses
