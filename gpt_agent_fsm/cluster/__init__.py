"""Many processes on one store: workers that drive threads, and handles of the threads in every process.

Needs PostgreSQL and the extra `cluster`.
"""

try:
    from gpt_agent_fsm.cluster.cluster import Cluster
    from gpt_agent_fsm.cluster.driving import WorkerStatus
except ImportError as error:  # pragma: no cover - an installation without the extra
    missing = error.name or ""
    if missing.partition(".")[0] not in ("procrastinate", "psycopg", "psycopg_pool", "sqlalchemy"):
        raise
    advice = 'pip install procrastinate "psycopg[binary,pool]" SQLAlchemy (the extra "cluster" of gpt-agent-fsm)'
    raise ImportError(f"A cluster needs {missing}: {advice}", name=missing) from error

__all__ = ["Cluster", "WorkerStatus"]
