"""The model behind a server that speaks chat completions, such as Ollama, llama.cpp or vLLM.

`model` has the class for users, `client` sends its requests, and `reply_builder` reads the answers leniently. Each
question about an answer has a module: `frames` and `errors_within` (what is an error), `contents`, `repetition` and
`thinking` (what is text), `tool_calls` (what is one call), `endings` (what ends it). What only one kind of server does
belongs in one of them.
"""
