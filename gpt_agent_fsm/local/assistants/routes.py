"""The requests of the Assistants API, one row for each. The functions in `handlers` answer them."""

import flask

from gpt_agent_fsm.local.assistants.handlers import AssistantsApi
from gpt_agent_fsm.local.http.error_responses import bad_request
from gpt_agent_fsm.local.http.routes import Route
from gpt_agent_fsm.local.shared.storage import Storage
from gpt_agent_fsm.local.shared.workers import Workers

_ASSISTANT = "/assistants/<assistant_id>"
_THREAD = "/threads/<thread_id>"
_MESSAGE = "/threads/<thread_id>/messages/<message_id>"
_RUN = "/threads/<thread_id>/runs/<run_id>"

# fmt: off
ROUTES = (
    Route("POST",   "/assistants",                 AssistantsApi.create_assistant),
    Route("GET",    "/assistants",                 AssistantsApi.list_assistants),
    Route("GET",    _ASSISTANT,                    AssistantsApi.get_assistant),
    Route("POST",   _ASSISTANT,                    AssistantsApi.modify_assistant),
    Route("DELETE", _ASSISTANT,                    AssistantsApi.delete_assistant),
    Route("POST",   "/threads",                    AssistantsApi.create_thread),
    Route("POST",   "/threads/runs",               AssistantsApi.create_thread_and_run,
                                                   stream=AssistantsApi.created_thread_and_run_events),
    Route("GET",    _THREAD,                       AssistantsApi.get_thread),
    Route("POST",   _THREAD,                       AssistantsApi.modify_thread),
    Route("DELETE", _THREAD,                       AssistantsApi.delete_thread),
    Route("POST",   _THREAD + "/messages",         AssistantsApi.create_message),
    Route("GET",    _THREAD + "/messages",         AssistantsApi.list_messages),
    Route("GET",    _MESSAGE,                      AssistantsApi.get_message),
    Route("POST",   _MESSAGE,                      AssistantsApi.modify_message),
    Route("DELETE", _MESSAGE,                      AssistantsApi.delete_message),
    Route("POST",   _THREAD + "/runs",             AssistantsApi.create_run,
                                                   stream=AssistantsApi.created_run_events),
    Route("GET",    _THREAD + "/runs",             AssistantsApi.list_runs),
    Route("GET",    _RUN,                          AssistantsApi.get_run),
    Route("POST",   _RUN,                          AssistantsApi.modify_run),
    Route("POST",   _RUN + "/cancel",              AssistantsApi.cancel_run),
    Route("POST",   _RUN + "/submit_tool_outputs", AssistantsApi.submit_tool_outputs,
                                                   stream=AssistantsApi.submitted_run_events),
    Route("GET",    _RUN + "/steps",               AssistantsApi.list_steps),
    Route("GET",    _RUN + "/steps/<step_id>",     AssistantsApi.get_step),
)
# fmt: on


def blueprint(storage: Storage, workers: Workers, lifetime: float) -> flask.Blueprint:
    """Return the API as a blueprint for the path `/v1`. A run expires when it is `lifetime` seconds old."""
    routes = AssistantsApi(storage, workers, lifetime).blueprint("assistants", ROUTES)
    routes.before_request(_require_beta_header)
    return routes


def _require_beta_header() -> None:
    given = flask.request.headers.get("OpenAI-Beta", "")
    if "assistants=v2" not in (value.strip() for value in given.split(",")):
        raise bad_request(
            "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
            "Please try again by setting the header 'OpenAI-Beta: assistants=v2'.",
            code="invalid_beta",
        )
