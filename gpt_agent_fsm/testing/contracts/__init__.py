"""What every implementation of a port promises, as tests to run on yours.

::

    class TestMyBackend(BackendContract):
        def make_backend(self) -> Backend:
            return MyBackend()
"""

from gpt_agent_fsm.testing.contracts.backend import BackendContract

__all__ = ["BackendContract"]
