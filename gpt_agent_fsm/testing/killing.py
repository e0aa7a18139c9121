"""The former name of `gpt_agent_fsm.testing.kill_test`. `python -m gpt_agent_fsm.testing.killing` still works."""

import sys

from gpt_agent_fsm.testing.kill_test import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
