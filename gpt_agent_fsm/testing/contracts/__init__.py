"""What every implementation of a port promises, as tests to run on yours.

::

    class TestMyStore(StoreContract):
        def make_store(self) -> Store:
            return MyStore()
"""

from gpt_agent_fsm.testing.contracts.store import StoreContract

__all__ = ["StoreContract"]
