"""Objects that implement an interface, by themselves or by passing calls on."""

import pytest

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.ports import Backend, PagingStore, PartsBackend, Store, offers
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, SimulatedServer, VirtualScheduler


class Wrapper:
    """Passes every call on, as an object that counts or logs calls does."""

    def __init__(self, wrapped):
        self.wrapped = wrapped

    def __getattr__(self, name):
        return getattr(self.wrapped, name)


@pytest.mark.parametrize(("wrapped", "port"), [(MemoryStore(), Store), (SimulatedServer(), Backend)])
def test_an_object_offers_an_interface_if_it_or_what_it_wraps_has_the_methods(wrapped, port):
    assert offers(wrapped, port)
    assert offers(Wrapper(wrapped), port)
    assert not offers(object(), port)
    assert not offers(Wrapper(object()), port)


def test_a_wrapper_has_the_abilities_of_what_it_wraps():
    assert offers(Wrapper(MemoryStore()), PagingStore)
    assert not offers(Wrapper(MemoryStore()), PartsBackend)


def test_a_runtime_takes_a_wrapped_backend_and_store():
    server, store = SimulatedServer(lambda text: [Answer("Hi")]), MemoryStore()
    with Runtime(Wrapper(server), store=Wrapper(store), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        assert agent.ask("Hello").text == "Hi"
        assert store.load(agent.thread_id).snapshot.settled
