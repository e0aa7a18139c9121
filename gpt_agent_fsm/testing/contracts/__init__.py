"""The contracts of the interfaces in `ports`, as test classes. The tests of an implementation inherit from them.

::

    class TestMyBackend(BackendContract):
        def make_backend(self) -> Backend:
            return MyBackend()


    class TestMyStore(StoreContract):
        def make_store(self) -> Store:
            return MyStore()


    class TestMyScheduler(SchedulerContract):
        def make_scheduler(self) -> Scheduler:
            return MyScheduler()


    class TestMyClock(ClockContract):
        def make_clock(self) -> Clock:
            return MyClock()


    class TestMyOwnership(OwnershipContract):
        def make_ownership(self, tick_soon: Callable[[str], None]) -> Ownership:
            return MyOwnership(tick_soon)
"""

from gpt_agent_fsm.testing.contracts.backend import BackendContract
from gpt_agent_fsm.testing.contracts.clock import ClockContract
from gpt_agent_fsm.testing.contracts.ownership import OwnershipContract
from gpt_agent_fsm.testing.contracts.scheduler import SchedulerContract
from gpt_agent_fsm.testing.contracts.store import StoreContract
from gpt_agent_fsm.testing.contracts.store_keys import KeyedStoreContract
from gpt_agent_fsm.testing.contracts.store_marks import MarkedStoreContract
from gpt_agent_fsm.testing.contracts.store_pages import PagingStoreContract
from gpt_agent_fsm.testing.contracts.store_upkeep import StoreUpkeepContract

__all__ = [
    "BackendContract",
    "ClockContract",
    "KeyedStoreContract",
    "MarkedStoreContract",
    "OwnershipContract",
    "PagingStoreContract",
    "SchedulerContract",
    "StoreContract",
    "StoreUpkeepContract",
]
