"""The HTTP code that all APIs need: sessions, deadlines, JSON, secrets, and the errors of failed requests.

Nothing here knows the paths or the objects of an API. `client` makes the requests, `transport` chooses whether urllib3
or `requests` sends a request, `connection` defines the connections, and `reading` the answers that arrive over them.
`short_way` leaves out most of urllib3 if a connection is already open, and `watchers` says whether somebody would miss
that. `outcomes` chooses the error for a failed request, `transport_errors` describes requests without an HTTP answer,
and `exchange` limits the time of each request.
"""

from gpt_agent_fsm.backends.http.auth import Auth
from gpt_agent_fsm.backends.http.client import HttpClient, client_from_env, segment

__all__ = ["Auth", "HttpClient", "client_from_env", "segment"]
