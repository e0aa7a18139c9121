"""Ask for a payment that a person must approve, even if the program is restarted before the decision.

`approval.py ask` asks for a payment and ends. After that, `approval.py yes` approves the payment, and `approval.py no`
denies it.
"""

import argparse
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
    """Print each request for an approval, and each message of the assistant."""
    match event:
        case events.ToolApprovalRequested(name=name, arguments=arguments):
            print(f"May I {name} {arguments}?")
            asked.set()
        case events.AssistantMessageAdded(content=content):
            print(content)


def main() -> None:
    """Ask for the payment, or decide about it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["ask", "yes", "no"])
    action = parser.parse_args().action
    backend = ResponsesBackend(assistants=ASSISTANTS)
    with Runtime(backend, store=SQLStore("sqlite:///payments.db")) as runtime:
        agent = runtime.start("cashier", key="payments", subscribe=show)
        if action == "ask":
            agent.add_user_message("Please pay 20 euros to Ann.")
            asked.wait(timeout=60)
            return
        if not agent.open_approvals:
            parser.error("no payment waits for a decision: ask for one first, with the action `ask`")
        for call in agent.open_approvals:
            if action == "yes":
                agent.approve(call.id, by="ann")
            else:
                agent.deny(call.id, "not today", by="ann")
        agent.wait(timeout=60)


if __name__ == "__main__":
    main()
