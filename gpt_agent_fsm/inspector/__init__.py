"""Web pages that show the threads of a runtime or of a store, live. They need the extra `inspector`.

::

    from gpt_agent_fsm.inspector import inspector, serve

    with serve(inspector(runtime)) as url:
        ...
"""

from __future__ import annotations

try:
    from gpt_agent_fsm.inspector.application import Inspector, inspector
    from gpt_agent_fsm.inspector.serving import serve
except ModuleNotFoundError as error:
    if error.name not in ("flask", "werkzeug"):
        raise
    raise ImportError(
        'The inspector needs Flask: pip install flask (the extra "inspector" of gpt-agent-fsm)', name=error.name
    ) from error

__all__ = ["Inspector", "inspector", "serve"]
