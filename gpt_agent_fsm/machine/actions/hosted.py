"""The action that announces the uses of tools that the server runs itself."""

from __future__ import annotations

import json

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine.objects import Run
from gpt_agent_fsm.machine.working_copy import WorkingCopy


def announce_hosted_tools(copy: WorkingCopy, run: Run) -> None:
    """Announce the uses of the server's own tools that the run reports. Each use is announced once."""
    live = copy.live_run
    new = [used for used in run.hosted_tools if used.id not in live.hosted_tools]
    if not new:
        return
    for used in new:
        copy.events.append(
            events.HostedToolUsed(
                thread_id=copy.thread_id, run_id=live.id, kind=used.kind, id=used.id, details=json.loads(used.details)
            )
        )
    copy.run = attrs.evolve(live, hosted_tools=(*live.hosted_tools, *(used.id for used in new)))
