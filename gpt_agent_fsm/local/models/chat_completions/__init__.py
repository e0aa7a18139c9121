"""The model behind a server that speaks chat completions, such as Ollama, llama.cpp or vLLM.

`model` contains the class for users, `client` sends the requests, and `reply_builder` reads the answers leniently.
Other modules interpret parts of an answer: `frames` and `errors_within` find errors, `contents`, `repetition` and
`thinking` find the text, `tool_calls` finds the calls, and `endings` finds the end. These modules also handle the
special cases of particular kinds of servers.
"""
