"""Checks the messages that clients post, and converts the messages of threads to chat messages for models."""

from gpt_agent_fsm.local.assistants import objects
from gpt_agent_fsm.local.files import stored
from gpt_agent_fsm.local.shared.parts import chat_message, chat_text_part, image_part
from gpt_agent_fsm.local.shared.storage import Doc, Transaction


def posted(tx: Transaction, thread_id: str, body: Doc, *, prefix: str = "") -> Doc:
    """Return the message that a client posts. `prefix` is the place of the message in the body, such as `messages[0].`.

    Raises `ApiProblem`, for example if the message names a file that does not exist.
    """
    message = objects.message(thread_id, body, prefix=prefix)
    for index, part in enumerate(message["content"]):
        if part["type"] == "image_file":
            param = f"{prefix}content[{index}].image_file.file_id"
            stored.check_image(tx, part["image_file"]["file_id"], param)
    for index, attached in enumerate(message["attachments"]):
        stored.check(tx, attached["file_id"], f"{prefix}attachments[{index}].file_id")
    return message


def as_chat(tx: Transaction, message: Doc) -> Doc:
    """Return a message of a thread as a chat message for a model. Attached files come after the content."""
    # The images that a model has made are not shown to it again: chat completions takes images from users only.
    content = [part for part in message["content"] if not (message["run_id"] and part["type"] == "image_file")]
    parts = [_as_part(tx, part) for part in content]
    parts += [stored.as_part(tx, attached["file_id"]) for attached in message["attachments"]]
    return chat_message(message["role"], text_of(message), parts)


def _as_part(tx: Transaction, part: Doc) -> Doc:
    if part["type"] == "image_file":
        return stored.as_image(tx, part["image_file"]["file_id"], part["image_file"]["detail"])
    if part["type"] == "image_url":
        return image_part(part["image_url"]["url"], part["image_url"]["detail"])
    return chat_text_part(_text_of_part(part))


def text_of(message: Doc) -> str:
    """Return the texts and refusals of a message, joined by newlines. Its other parts are left out."""
    return "\n".join(_text_of_part(part) for part in message["content"] if part["type"] in ("text", "refusal"))


def _text_of_part(part: Doc) -> str:
    text: str = part["refusal"] if part["type"] == "refusal" else part["text"]["value"]
    return text
