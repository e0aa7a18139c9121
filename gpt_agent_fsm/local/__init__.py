"""An OpenAI-compatible API server that runs inside your process, for demos, tests and offline work.

`LocalServer` listens on a real socket and offers two APIs: Assistants v2 (threads, messages, runs), and Responses with
Conversations. In the source, the HTTP format of an API is called its *wire*. A *model* decides the answers. It is any
callable that takes one `ModelRequest` and returns text, a list of `ToolCall` or `ApprovalRequest`, or a `Reply`. A
`Reply` can also contain the usage, citations and other parts. A model may raise `ModelError`. A `StreamingModel` can
also yield its answer in pieces. `ScriptedModel` is a model written in YAML, and `ChatCompletionsModel` is a model
behind a server that speaks chat completions. `Chaos` injects faults, for tests of clients.

This package needs the extra `local`.
"""

try:
    import flask as _flask  # noqa: F401 - only to find out whether the extra is installed
    import jsonschema as _jsonschema  # type: ignore[import-untyped]  # noqa: F401
    import sqlalchemy as _sqlalchemy  # noqa: F401
    import waitress as _waitress  # type: ignore[import-untyped]  # noqa: F401
    import yaml as _yaml  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f'gpt_agent_fsm.local needs {error.name}, which is not installed: install gpt-agent-fsm with its extra "local"',
        name=error.name,
    ) from error

from gpt_agent_fsm.errors import explains_keywords
from gpt_agent_fsm.local.http.chaos import Chaos
from gpt_agent_fsm.local.http.recording import SeenRequest
from gpt_agent_fsm.local.models.answer_parts import (
    CodeInterpreter,
    FileCitation,
    FilePath,
    FileSearch,
    FileSearchResult,
    MadeImage,
    McpCall,
    UrlCitation,
    WebSearch,
)
from gpt_agent_fsm.local.models.chat_completions.model import ChatCompletionsModel
from gpt_agent_fsm.local.models.protocol import (
    ApprovalRequest,
    ModelError,
    ModelRequest,
    Reply,
    StreamingModel,
    ToolCall,
    Usage,
)
from gpt_agent_fsm.local.models.script.model import ScriptedModel
from gpt_agent_fsm.local.server import LocalServer
from gpt_agent_fsm.local.shared.file_owner import DatabaseInUseError

__all__ = [
    "ApprovalRequest",
    "Chaos",
    "ChatCompletionsModel",
    "CodeInterpreter",
    "DatabaseInUseError",
    "FileCitation",
    "FilePath",
    "FileSearch",
    "FileSearchResult",
    "LocalServer",
    "MadeImage",
    "McpCall",
    "ModelError",
    "ModelRequest",
    "Reply",
    "ScriptedModel",
    "SeenRequest",
    "StreamingModel",
    "ToolCall",
    "UrlCitation",
    "Usage",
    "WebSearch",
]

for _class in (Chaos, ChatCompletionsModel, LocalServer, ScriptedModel):
    explains_keywords(_class)
