"""A server, a store and the processes that use them, for tests of functions that answer tool calls."""

from gpt_agent_fsm import Runtime, Settings, errors, events, tool
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.crashing import StoreHandle

WEATHER = Call((("get_weather", '{"city":"Oslo"}'),))
PATIENCE = 60


class World:
    """A server and a store that outlive the processes that use them."""

    def __init__(self, *steps, tools=(), **settings):
        plans = [list(steps)]
        self.server = SimulatedServer(lambda text: plans.pop(0) if plans else [Answer("Later")])
        self.store, self.settings = MemoryStore(), Settings(**settings)
        self.start(tools)

    def start(self, tools=(), pause=0.0):
        """Let the process that runs die without a word, and a new one begin after `pause` seconds."""
        before = getattr(self, "scheduler", None)
        self.scheduler = VirtualScheduler()
        if before is not None:
            self.scheduler.sleep(before.clock.monotonic() + pause)
        handle = StoreHandle(self.store)
        self.runtime = Runtime(self.server, self.settings, handle, tools=tools, scheduler=self.scheduler)

    def connect(self, thread_id=None, **options):
        self.thread_id = thread_id or self.runtime.create_thread()
        return self.runtime.connect(thread_id=self.thread_id, assistant_id="a", last_message_id=None, **options)

    def happened(self):
        return [
            record.event
            for record in self.runtime.history(self.thread_id)
            if type(record.event).__name__.startswith("Tool")
        ]

    def names(self):
        return [type(event).__name__ for event in self.happened()]

    def outputs(self):
        return [event.output for event in self.happened() if isinstance(event, events.ToolCallOutputRecorded)]


def deny_polls(*args, **options):
    raise errors.AccessDenied(401, None, "No")


class MoodyServer(SimulatedServer):
    fails = False

    @property
    def functions(self):
        if self.fails:
            self.fails = False
            raise LookupError("not now")
        return ()


class SlowWorld(World):
    """A world whose functions take `seconds`."""

    def __init__(self, seconds, *steps, tools, **settings):
        super().__init__(*steps, tools=tools, **settings)
        self.runtime._roster.jobs._run_soon = lambda function: self.scheduler.call_later(seconds, function)


def get_weather(city: str) -> int:
    return 21


def other() -> int:
    return 1


def make_tool(approve, ran, **options):
    @tool(approve=approve, **options)
    def get_weather(city: str) -> int:
        ran.append(city)
        return 1

    return get_weather


def count_ticks(scheduler, monkeypatch):
    """Return a list that grows with each tick; a loop without a pause fails the test instead of hanging."""
    ticks, tick = [], scheduler._tick

    def counted(task):
        ticks.append(task)
        assert len(ticks) < 1_000, "the thread ticks without a pause"
        return tick(task)

    monkeypatch.setattr(scheduler, "_tick", counted)
    return ticks
