"""The models, which decide the answers of the local server.

`protocol` defines the interface of a model, and `asking` calls a model and checks its answer. `echo`, `script` and
`chat_completions` each contain one kind of model. A new kind needs a new module. No model knows the server's APIs or
the server's storage.
"""
