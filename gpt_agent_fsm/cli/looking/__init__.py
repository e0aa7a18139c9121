"""The commands that read a store (threads, history, explain, inspect), and those that can change it (doctor, prune)."""

from gpt_agent_fsm.cli.looking.doctor import doctor
from gpt_agent_fsm.cli.looking.inspecting import inspect
from gpt_agent_fsm.cli.looking.prune import prune
from gpt_agent_fsm.cli.looking.reading import explain, history
from gpt_agent_fsm.cli.looking.threads import threads

__all__ = ["COMMANDS"]

COMMANDS = (threads, history, explain, inspect, doctor, prune)
