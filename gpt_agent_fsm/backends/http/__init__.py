"""HTTP as every wire needs it: sessions, deadlines, JSON, secrets, and the errors of failed requests.

Nothing here knows the paths or the objects of an API. `outcomes` chooses the error for an answer, `transport_errors`
describes requests without one, and `deadline` bounds every request.
"""

from gpt_agent_fsm.backends.http.client import HttpClient, client_from_env, segment

__all__ = ["HttpClient", "client_from_env", "segment"]
