"""A process that commits until it is killed, and prints its acknowledgements: python -m tests.stores.committing URL.

Each of its OS threads drives one conversation and numbers its steps. It prints a line after each call has returned.
"""

import os
import sys
import threading

from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing.contracts.store_means import tried
from tests.stores.helpers import an_event, busy, commit, say

THREADS = 4


def work(store, thread_id):
    step = 0
    commit(store, busy(thread_id))
    while True:
        step += 1
        number = store.accept(thread_id, say(f"{step}"))
        acknowledge(f"accepted {thread_id} {number} {step}")
        event = an_event(thread_id, f"run_{step}")
        # Every other command stays in the inbox for a while.
        [record] = commit(store, busy(thread_id, pending=tried(step).pending), event, consumed=number - step % 2)
        acknowledge(f"committed {thread_id} {record.seq} {step}")
        store.announced(thread_id, record.seq)


def acknowledge(line):
    os.write(1, f"{line}\n".encode())


def main(url):
    store = SQLStore(url)
    for number in range(THREADS):
        threading.Thread(target=work, args=(store, f"thread_{number}")).start()


if __name__ == "__main__":
    main(sys.argv[1])
