"""The requests of the Responses API, one row for each. The functions in `handlers` answer them."""

import flask

from gpt_agent_fsm.local.http.routes import Route
from gpt_agent_fsm.local.responses.handlers import ResponsesApi
from gpt_agent_fsm.local.shared.storage import Storage
from gpt_agent_fsm.local.shared.workers import Workers

_CONVERSATION = "/conversations/<conversation_id>"
_ITEM = "/conversations/<conversation_id>/items/<item_id>"
_RESPONSE = "/responses/<response_id>"

# fmt: off
ROUTES = (
    Route("POST",   "/conversations",           ResponsesApi.create_conversation),
    Route("GET",    _CONVERSATION,              ResponsesApi.get_conversation),
    Route("POST",   _CONVERSATION,              ResponsesApi.modify_conversation),
    Route("DELETE", _CONVERSATION,              ResponsesApi.delete_conversation),
    Route("POST",   _CONVERSATION + "/items",   ResponsesApi.create_items),
    Route("GET",    _CONVERSATION + "/items",   ResponsesApi.list_items),
    Route("GET",    _ITEM,                      ResponsesApi.get_item),
    Route("DELETE", _ITEM,                      ResponsesApi.delete_item),
    Route("POST",   "/responses",               ResponsesApi.create_response,
                                                stream=ResponsesApi.created_response_events,
                                                waits=ResponsesApi.until_ended),
    Route("POST",   "/responses/input_tokens",  ResponsesApi.count_input_tokens),
    Route("GET",    _RESPONSE,                  ResponsesApi.get_response,
                                                stream=ResponsesApi.stored_response_events),
    Route("DELETE", _RESPONSE,                  ResponsesApi.delete_response),
    Route("POST",   _RESPONSE + "/cancel",      ResponsesApi.cancel_response),
    Route("GET",    _RESPONSE + "/input_items", ResponsesApi.list_input_items),
)
# fmt: on


def blueprint(storage: Storage, workers: Workers, lifetime: float, item_lag: float) -> flask.Blueprint:
    """Return the API as a blueprint for the path `/v1`.

    `lifetime` is the age in seconds at which an unfinished response fails. `item_lag` is the delay in seconds between
    the end of a response and the time from which its items are listed.
    """
    return ResponsesApi(storage, workers, lifetime, item_lag).blueprint("responses", ROUTES)
