"""The commands that read a store (threads, history, explain, inspect), and those that can change it (doctor, prune)."""
