"""The model behind a server that speaks chat completions, such as Ollama, llama.cpp or vLLM.

`model` is what people construct, `client` sends its requests, `reply_builder` reads the answers leniently. What one
kind of server does differently belongs in `reply_builder`.
"""
