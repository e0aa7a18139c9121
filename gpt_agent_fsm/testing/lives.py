"""The former name of `gpt_agent_fsm.testing.simulate`. `python -m gpt_agent_fsm.testing.lives` still works."""

import sys

from gpt_agent_fsm.testing.simulate import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
