"""What one process learns about an API key, the gates of the others know."""

import contextlib
import itertools
import threading

import pytest

from gpt_agent_fsm import Settings
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.cluster.accounts import ClusterAccount
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.testing import VirtualClock
from tests.cluster.helpers import query
from tests.gates import CREATE, FINE, POST, Thread

LIMITED = inputs.RequestDelayed(status=429, message="slow down", retry_after=100)
BROKE = inputs.RequestNeedsOperator(status=429, code="insufficient_quota", message="balance", quota=True)
CREATED = inputs.RunCreated(run=None)


@pytest.fixture
def clock():
    return VirtualClock(now=1000.0)


@pytest.fixture
def account_of(clock):
    def make(process, name="the account", **settings):
        return ClusterAccount(process.database, name, clock, Settings(**settings), lambda _: None)

    return make


@pytest.fixture
def accounts(process, other, account_of):
    """The account, in two processes."""
    return account_of(process), account_of(other)


def test_a_rate_limit_of_one_process_holds_the_others_back(accounts, clock):
    here, there = accounts
    here.gate.learn(Thread(), POST, LIMITED)
    assert there.gate.admit(Thread(), POST) is None
    there.look()
    assert there.gate.admit(Thread(), POST) == pytest.approx(clock.now + 100, abs=10)


def test_only_one_process_sends_the_probe(accounts, clock, url):
    here, there = accounts
    here.gate.learn(Thread(), POST, LIMITED)
    there.look()
    clock.now += 101
    first, second = Thread(), Thread()
    assert here.gate.admit(first, POST) is None
    assert there.gate.admit(second, POST) == clock.now + Settings().request_timeout
    here.gate.learn(first, POST, FINE)
    there.look()
    assert second.told == [False]
    assert there.gate.admit(second, POST) is None


def test_a_probe_that_is_rate_limited_again_gives_the_next_probe_to_any_process(accounts, clock):
    here, there = accounts
    here.gate.learn(Thread(), POST, LIMITED)
    there.look()
    clock.now += 101
    probe = Thread()
    assert here.gate.admit(probe, POST) is None
    here.gate.learn(probe, POST, LIMITED)
    there.look()
    clock.now += 201
    assert there.gate.admit(Thread(), POST) is None
    assert here.gate.admit(Thread(), POST) is not None


def test_an_exhausted_balance_parks_the_threads_of_all_processes_until_one_run_is_created(accounts):
    here, there = accounts
    here.gate.learn(Thread(), POST, BROKE)
    there.look()
    parked = Thread()
    assert there.gate.admit(parked, POST) == BROKE
    newer = Thread()
    newer.last_command = here.gate.stamp()
    assert here.gate.admit(newer, CREATE) is None
    here.gate.learn(newer, CREATE, CREATED)
    there.look()
    assert parked.told == [True]
    assert there.gate.admit(Thread(), POST) is None


def test_a_process_that_was_told_of_a_payment_too_early_finds_it_at_its_next_look(accounts, monkeypatch):
    """The first look reads the denial, and this process itself finds the balance restored before it takes it over."""
    here, there = accounts
    there.gate.learn(Thread(), POST, BROKE)
    hear_denial, newer = here.gate.hear_denial, Thread()
    newer.last_command = 1_000

    def hear_late(denial):
        here.gate.learn(newer, CREATE, CREATED)
        here.paid()
        hear_denial(denial)

    monkeypatch.setattr(here.gate, "hear_denial", hear_late)
    here.look()
    assert here.gate.admit(Thread(), POST) == BROKE
    here.look()
    assert here.gate.admit(Thread(), POST) is None


def test_two_looks_take_over_what_they_have_read_in_order(accounts, monkeypatch):
    here, there = accounts
    there.gate.learn(Thread(), POST, BROKE)
    hear_denial, later = here.gate.hear_denial, []

    def hear_during_another_look(denial):
        there.paid()
        later.append(threading.Thread(target=here.look))
        later[0].start()
        later[0].join(0.05)
        hear_denial(denial)

    monkeypatch.setattr(here.gate, "hear_denial", hear_during_another_look)
    here.look()
    later[0].join()
    assert here.gate.admit(Thread(), POST) is None


def test_a_process_that_starts_later_knows_what_the_others_have_learned(process, other, account_of):
    here = account_of(process)
    here.gate.learn(Thread(), POST, LIMITED)
    here.gate.learn(Thread(), POST, BROKE)
    there = account_of(other)
    assert there.gate.admit(Thread(), POST) == BROKE
    assert there.gate.admit(Thread(), effects.GetRun(run_id="run_1")) is not None


def test_all_processes_of_an_account_share_its_requests_of_a_minute(process, other, account_of, clock):
    here, there = (account_of(each, requests_per_minute=60) for each in (process, other))
    moments = [each.reserve() - clock.now for each in (here, there, here, there)]
    assert [later - earlier for earlier, later in itertools.pairwise(moments)] == pytest.approx([1.0] * 3, abs=0.5)


def test_accounts_know_nothing_of_each_other(process, other, account_of):
    here, there = account_of(process, "one"), account_of(other, "two")
    here.gate.learn(Thread(), POST, LIMITED)
    there.look()
    assert there.gate.admit(Thread(), POST) is None


def test_a_gate_goes_its_own_way_while_the_database_fails(process, account_of, clock, monkeypatch):
    account = account_of(process, requests_per_minute=60)

    @contextlib.contextmanager
    def fails():
        from gpt_agent_fsm.errors import StoreError

        raise StoreError("no database")
        yield

    monkeypatch.setattr(process.database, "transaction", fails)
    assert account.gate.admit(Thread(), POST) is None
    account.gate.learn(Thread(), POST, LIMITED)
    clock.now += 101
    assert account.gate.admit(Thread(), POST) is None


@pytest.mark.parametrize("make", [AssistantsBackend, ResponsesBackend])
def test_the_name_of_an_account_shows_no_key_and_depends_on_address_key_and_cluster(make):
    def name(url="http://one/v1", key="secret-key", salt=b"salt", **more):
        backend = make(url, key, **({"assistants": {}} if make is ResponsesBackend else {}), **more)
        try:
            return backend.account(salt)
        finally:
            backend.close()

    names = [name(), name(url="http://two/v1"), name(key="other-key"), name(salt=b"pepper"), name(project="p")]
    assert len(set(names)) == len(names)
    assert name() == names[0]
    assert not any("secret" in each or "one" in each for each in names)


def test_a_worker_takes_the_account_that_it_is_given_or_that_of_its_backend(world, url):
    world.open_worker(account="shop")
    world.open_worker()
    names = {row[0] for row in query(url, "SELECT name FROM gpt_agent_accounts")}
    assert "shop" in names
    assert len(names) == 2
    assert not any("the-key" in name for name in names)
