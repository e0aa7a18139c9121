"""The PostgreSQL server is defined once for all folders, so that each process of pytest starts one at most."""

from tests.postgresql import own_postgresql, postgresql

__all__ = ["own_postgresql", "postgresql"]
