"""`python -m gpt_agent_fsm` is the command `gpt-agent-fsm`."""

from gpt_agent_fsm.cli import main

if __name__ == "__main__":
    main()
