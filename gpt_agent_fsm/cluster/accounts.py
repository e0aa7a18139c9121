"""What the processes of a cluster know together about one API key: its pace, its rate limit, and its balance.

The account has one row. A process that learns something writes it into the row and tells the others. A process that
missed the news finds the change at its next heartbeat.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.cluster.tables import run
from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.engine.turns import Pace
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.settings import Settings

__all__ = ["ClusterAccount"]

log: Log = get_logger(__name__)

INTRODUCE = "INSERT INTO gpt_agent_accounts (name) VALUES (%(name)s) ON CONFLICT DO NOTHING"
# The clock of the database is the clock of all processes.
RESERVE = """
UPDATE gpt_agent_accounts
SET next_request = GREATEST(next_request, now() - %(slack)s * interval '1 second') + %(interval)s * interval '1 second'
WHERE name = %(name)s
RETURNING EXTRACT(EPOCH FROM next_request - now()) - %(interval)s
"""
TAKE_PROBE = """
UPDATE gpt_agent_accounts SET probe_until = now() + %(seconds)s * interval '1 second'
WHERE name = %(name)s AND probe_until <= now() RETURNING name
"""
LIMITED = """
UPDATE gpt_agent_accounts SET limits = GREATEST(limits, %(times)s), probe_until = '-infinity', changes = changes + 1,
limited_until = GREATEST(limited_until, now() + %(seconds)s * interval '1 second')
WHERE name = %(name)s RETURNING changes
"""
OPENED = """
UPDATE gpt_agent_accounts
SET limits = 0, limited_until = '-infinity', probe_until = '-infinity', changes = changes + 1
WHERE name = %(name)s RETURNING changes
"""
DENIED = """
UPDATE gpt_agent_accounts SET denial = %(denial)s, changes = changes + 1 WHERE name = %(name)s RETURNING changes
"""
LOOK = """
SELECT limits, EXTRACT(EPOCH FROM GREATEST(limited_until, now()) - now()) AS seconds, denial, changes
FROM gpt_agent_accounts WHERE name = %(name)s AND changes <> %(known)s
"""


class ClusterAccount:
    """The account of one API key, for the gate of this process. Implements `Account`.

    If the database does not answer, the gate continues with what this process knows alone.

    Args:
        name: the name of the account. It contains no key.
        tell: tells the other processes that the account has changed.

    Attributes:
        gate: the gate of this process.
    """

    def __init__(
        self, database: ClusterDatabase, name: str, clock: Clock, settings: Settings, tell: Callable[[str], None]
    ) -> None:
        self._database = database
        self.name: str = name
        self._clock = clock
        self._tell = tell
        per_minute = settings.requests_per_minute
        self._pace = None if per_minute is None else Pace(clock, per_minute)
        self._known = 0
        """The number of changes of the row that this process has taken into account."""
        self._looking = threading.Lock()
        """Held during a look, so that what an earlier look has read does not replace what a later one has."""
        with database.transaction() as connection:
            run(connection, INTRODUCE, name=name)
        self.gate: Gate = Gate(clock, settings, self)
        self.look()

    # --- what the gate asks and tells --------------------------------------------------------------------------

    def reserve(self) -> float:
        """See `Account.reserve`."""
        assert self._pace is not None  # noqa: S101 - a gate without a pace reserves nothing
        pace = {"slack": self._pace.slack, "interval": self._pace.interval}
        row = self._update(RESERVE, **pace)
        return self._pace.reserve() if row is None else self._clock.monotonic() + float(row[0])

    def take_probe(self, seconds: float) -> bool:
        """See `Account.take_probe`."""
        try:
            with self._database.transaction() as connection:
                return run(connection, TAKE_PROBE, name=self.name, seconds=seconds).first() is not None
        except StoreError as error:
            log.warning("the rate limit of other processes is unknown: %s", error)
            return True

    def limited(self, seconds: float, times: int) -> None:
        """See `Account.limited`."""
        self._change(LIMITED, seconds=max(seconds, 0.0), times=times)

    def opened(self) -> None:
        """See `Account.opened`."""
        self._change(OPENED)

    def denied(self, denial: inputs.RequestNeedsOperator) -> None:
        """See `Account.denied`."""
        known = {"status": denial.status, "code": denial.code, "message": denial.message}
        self._change(DENIED, denial=json.dumps(known))

    def paid(self) -> None:
        """See `Account.paid`."""
        self._change(DENIED, denial=None)

    def _change(self, statement: str, **values: Any) -> None:  # noqa: ANN401 - SQL values
        row = self._update(statement, **values)
        if row is not None:
            self._tell(self.name)

    def _update(self, statement: str, **values: Any) -> Any:  # noqa: ANN401 - a row
        try:
            with self._database.transaction() as connection:
                return run(connection, statement, name=self.name, **values).one_or_none()
        except StoreError as error:
            log.warning("other processes do not hear of the account: %s", error)
            return None

    # --- what other processes tell -----------------------------------------------------------------------------

    def look(self) -> None:
        """Take over what other processes have learned. Raises `StoreError` if the database fails.

        This process also sees its own changes again, because a look may be in progress while it makes them.
        """
        with self._looking:
            self._look()

    def _look(self) -> None:
        with self._database.asking() as connection:
            row = run(connection, LOOK, name=self.name, known=self._known).one_or_none()
        if row is None:
            return
        self._known = row.changes
        if row.limits:
            self.gate.hear_limit(float(row.seconds), row.limits)
        else:
            self.gate.hear_opened()
        if row.denial is None:
            self.gate.hear_paid()
        else:
            self.gate.hear_denial(inputs.RequestNeedsOperator(**json.loads(row.denial), quota=True))
