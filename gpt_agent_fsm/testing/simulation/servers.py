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
from gpt_agent_fsm.testing.conversations import SimulatedConversations
from gpt_agent_fsm.testing.crashing import StoreHandle
from gpt_agent_fsm.testing.network import FaultyHttp, FaultyNetwork
from gpt_agent_fsm.testing.server import SimulatedServer
from gpt_agent_fsm.testing.simulation.troubles import Troubles, Wire
from gpt_agent_fsm.testing.steps import Step
from gpt_agent_fsm.testing.threads_api import SimulatedThreads

__all__ = ["Server", "make_server"]

Server: TypeAlias = SimulatedServer | SimulatedConversations
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
) -> tuple[Server, Callable[[StoreHandle], Backend]]:
    """Return a server of the API, and a function that returns the backend of a process."""
    page_size = rng.choice([2, 3, 100])
    if wire == "assistants":
        runs = SimulatedServer(lambda _: plan(), keeps_keys=keeps_keys, page_size=page_size, habits=troubles.habits)

        def make_assistants(sender: StoreHandle) -> Backend:
            backend = AssistantsBackend(FaultyHttp.base_url, "k")
            http = FaultyHttp(SimulatedThreads(runs), network, converter=assistants_converter, sender=sender)
            backend._http = http  # type: ignore[assignment]
            return backend

        return runs, make_assistants
    conversations = SimulatedConversations(
        lambda _: plan(), now=scheduler.clock.monotonic, rng=rng, habits=troubles.habits
    )

    def make_responses(sender: StoreHandle) -> Backend:
        backend = ResponsesBackend(FaultyHttp.base_url, "k", assistants=_ASSISTANTS)
        backend._http = FaultyHttp(conversations, network, sender=sender)  # type: ignore[assignment]
        return backend

    return conversations, make_responses
