"""The default model of a server. It repeats the user's message."""

from gpt_agent_fsm.local.models.protocol import ModelRequest


def echo(request: ModelRequest) -> str:
    """Answer with a sentence that contains the user's last message."""
    return f"You said: {request.user_message}"
