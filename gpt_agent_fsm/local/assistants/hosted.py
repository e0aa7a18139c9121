"""Converts the parts of an answer that are not text: annotations, images, and tools that the service has run itself.

Web searches are left out, because the steps of a run have no form for them.
"""

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.assistants.objects import message_text_part
from gpt_agent_fsm.local.files import stored
from gpt_agent_fsm.local.models.answer_parts import (
    Annotation,
    CodeInterpreter,
    FileCitation,
    FilePath,
    FileSearch,
    HostedTool,
    MadeImage,
    McpCall,
    spans,
)
from gpt_agent_fsm.local.models.protocol import Reply
from gpt_agent_fsm.local.shared.storage import Doc, Transaction


def content(tx: Transaction, reply: Reply) -> list[Doc]:
    """Return the content of the message for a reply, and store its images as files.

    The list is empty if the reply has only calls.
    """
    images = [made for made in reply.hosted if isinstance(made, MadeImage)]
    parts: list[Doc] = []
    if reply.text or not (reply.refusal or images or reply.calls):
        marked = [_annotation(*span) for span in spans(reply.text, reply.annotations)]
        parts.append(message_text_part(reply.text, marked))
    if reply.refusal:
        parts.append({"type": "refusal", "refusal": reply.refusal})
    for image in images:
        file = stored.add(tx, "image.png", "assistants_output", image.data)
        parts.append({"type": "image_file", "image_file": {"file_id": file["id"], "detail": "auto"}})
    return parts


def _annotation(annotation: Annotation, start: int, end: int) -> Doc:
    place = {"text": annotation.text, "start_index": start, "end_index": end}
    match annotation:
        case FileCitation(_, file_id):
            return {"type": "file_citation", "file_citation": {"file_id": file_id}} | place
        case FilePath(_, file_id):
            return {"type": "file_path", "file_path": {"file_id": file_id}} | place
    # OpenAI's threads have no citations of web pages; Azure's agents have.
    return {"type": "url_citation", "url_citation": {"url": annotation.url, "title": annotation.title}} | place


def calls(reply: Reply) -> list[Doc]:
    """Return the calls of tools that the service has run itself, in the form that a step has."""
    return [call for tool in reply.hosted if (call := _call(tool)) is not None]


def is_hosted(step: Doc) -> bool:
    """Return whether the service itself has run the tools of a step. Such a step never waits for a client."""
    called = step["step_details"].get("tool_calls", ())
    # A call to a remote server that a client must approve has the field `approved`, which is null until the decision.
    return any(call["type"] != "function" and "approved" not in call for call in called)


def _call(tool: HostedTool) -> Doc | None:
    call_id = {"id": ids.new_id("call")}
    match tool:
        case CodeInterpreter(code, logs):
            outputs = [{"type": "logs", "logs": logs}] if logs else []
            return call_id | {"type": "code_interpreter", "code_interpreter": {"input": code, "outputs": outputs}}
        case FileSearch(_, results):
            found = [
                {
                    "file_id": each.file_id,
                    "file_name": each.filename,
                    "score": each.score,
                    "content": [{"type": "text", "text": each.text}],
                }
                for each in results
            ]
            return call_id | {"type": "file_search", "file_search": {"results": found}}
        case McpCall(name, arguments, output, server, error):
            made = {"name": name, "arguments": arguments, "server_label": server, "output": error or output}
            return call_id | {"type": "mcp"} | made
    return None
