"""A process that drives threads until it is killed: `python -m tests.cluster.killed_worker URL BASE_URL`."""

import sys
import threading

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.cluster import Cluster
from tests.cluster.worlds import SETTINGS


def main(url, base_url):
    store = Cluster(url, drive=True)
    with Runtime(AssistantsBackend(base_url, "the-key"), SETTINGS, store):
        print(store.worker.id, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
