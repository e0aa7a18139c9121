"""A thread at a gate, for the tests of gates and accounts."""

from gpt_agent_fsm.machine import effects, inputs

POST = effects.PostMessage(key="k", content="c")
CREATE = effects.CreateRun(key="k", assistant_id="a")
LOOK = effects.GetRun(run_id="run_1")
FINE = inputs.MessagePosted(message_id="msg_1")


class Thread:
    """A thread that wants to make a request. Keeps how it was woken."""

    last_command = 0
    tenant = ""

    def __init__(self):
        self.told = []

    def try_again(self, *, unpark):
        self.told.append(unpark)
