"""A payment that a person must approve, even if the program was stopped in between.

`approval.py ask` asks for a payment and ends. `approval.py yes` or `approval.py no` continues from there.
"""

import sys
import threading

from gpt_agent_fsm import Agent, Assistant, Runtime, events, tool
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.stores import SQLStore


@tool(approve=True)
def pay(amount: float, to: str) -> str:
    """Pay an amount in euros."""
    return f"{amount} euros were paid to {to}"


ASSISTANTS = {"cashier": Assistant("gpt-4o", "You are a cashier.", [pay])}
asked = threading.Event()


def show(agent: Agent, event: events.Event) -> None:
    """Show the questions and the answers."""
    match event:
        case events.ToolApprovalRequested(name=name, arguments=arguments):
            print(f"May I {name} {arguments}?")
            asked.set()
        case events.AssistantMessageAdded(content=content):
            print(content)


def main(action: str) -> None:
    """Do one of the two steps."""
    backend = ResponsesBackend(assistants=ASSISTANTS)
    with Runtime(backend, store=SQLStore("sqlite:///payments.db")) as runtime:
        agent = runtime.start("cashier", key="payments", subscribe=show)
        if action == "ask":
            agent.add_user_message("Please pay 20 euros to Ann.")
            asked.wait(timeout=60)
            return
        for call in agent.open_approvals:
            if action == "yes":
                agent.approve(call.id, by="ann")
            else:
                agent.deny(call.id, "not today", by="ann")
        agent.wait(timeout=60)


if __name__ == "__main__":
    main(sys.argv[1])
