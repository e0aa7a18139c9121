"""The model behind a server that speaks chat completions, such as Ollama, llama.cpp or vLLM.

`model` has the class for users, `client` sends its requests, `reply_builder` reads the answers leniently. Special cases
that only one kind of server needs belong in `reply_builder`.
"""
