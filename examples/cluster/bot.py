"""The assistant of the shop, and its tool. The web processes and the workers import this module."""

from gpt_agent_fsm import Assistant, tool

ORDERS = {"17": "on its way", "18": "delivered"}


@tool
def order_status(number: str) -> str:
    """Return where an order is. Runs in the worker that drives the thread."""
    return ORDERS.get(number, "unknown")


ASSISTANTS = {"shop": Assistant("gpt-4o", "You help the customers of a small shop. Be brief.", tools=[order_status])}
