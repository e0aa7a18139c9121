"""Drive conversations with hosted agents: one explicit finite state machine per thread."""
