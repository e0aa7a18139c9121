"""Makes the items of an answer that are not messages or calls: reasoning, and tools that the service has run itself.

`include` is a list in the request for a response. Some fields of these items are shown only if the list names them.
"""

import base64
from collections.abc import Collection

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.models.answer_parts import (
    Annotation,
    CodeInterpreter,
    FileCitation,
    FilePath,
    FileSearch,
    HostedTool,
    MadeImage,
    McpCall,
    WebSearch,
)
from gpt_agent_fsm.local.shared.storage import Doc

REASONING = "reasoning"
KINDS = ("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call", "image_generation_call")
"""The types of items for tools of the service."""


def reasoning(summary: Collection[str]) -> Doc:
    """Return the item with the summary of the model's reasoning."""
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": ids.new_id("rs"), "type": REASONING, "summary": parts}


def item(tool: HostedTool, include: Collection[str]) -> Doc:
    """Return the item for a tool that the service has run."""
    match tool:
        case WebSearch(query, urls):
            sources = [{"type": "url", "url": url} for url in urls]
            action = {"type": "search", "query": query}
            if "web_search_call.action.sources" in include:
                return _item("web_search_call", "ws") | {"action": action | {"sources": sources}}
            return _item("web_search_call", "ws") | {"action": action}
        case FileSearch(queries, results):
            found = [
                {"file_id": each.file_id, "filename": each.filename, "score": each.score, "text": each.text}
                for each in results
            ]
            shown = found if "file_search_call.results" in include else None
            return _item("file_search_call", "fs") | {"queries": [*queries], "results": shown}
        case CodeInterpreter(code, logs):
            outputs = [{"type": "logs", "logs": logs}] if "code_interpreter_call.outputs" in include else None
            run = {"code": code, "container_id": ids.new_id("cntr"), "outputs": outputs}
            return _item("code_interpreter_call", "ci") | run
        case McpCall():
            return _mcp_call(tool)
        case MadeImage(data):
            return _item("image_generation_call", "ig") | {"result": base64.b64encode(data).decode()}


def _mcp_call(tool: McpCall) -> Doc:
    made = {"name": tool.name, "arguments": tool.arguments, "server_label": tool.server_label}
    if tool.error is None:
        return _item("mcp_call", "mcp") | made | {"output": tool.output, "error": None}
    error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": tool.error}]}
    return _item("mcp_call", "mcp") | made | {"output": None, "error": error, "status": "failed"}


def _item(kind: str, prefix: str) -> Doc:
    return {"id": ids.new_id(prefix), "type": kind, "status": "completed"}


def annotation(annotation: Annotation, start: int, end: int) -> Doc:
    """Return an annotation in the form of this API. Only citations of web pages have a span here."""
    match annotation:
        case FileCitation(_, file_id, filename):
            return {"type": "file_citation", "file_id": file_id, "filename": filename, "index": end}
        case FilePath(_, file_id):
            return {"type": "file_path", "file_id": file_id, "index": end}
    span = {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url": annotation.url, "title": annotation.title} | span
