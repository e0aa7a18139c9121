"""`gpt-agent-fsm chat`: a conversation with an agent in the terminal, or through a pipe.

`command` defines the options of the command line. `options` says what they mean, `opening` makes the session, and
`tools` finds the functions. `conversation` asks for messages and follows each of them to its end, `questions` asks a
person about tool calls, and `slash_commands` runs the lines that begin with a slash. `reader` reads lines, and `screen`
and `colours` show the conversation.
"""

from gpt_agent_fsm.cli.chat.command import chat

__all__ = ["chat"]
