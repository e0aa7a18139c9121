"""Models: they decide the server's answers.

`protocol` defines a model, and `asking` calls a model and checks its answer. Every other module or folder is one kind
of model; add a new kind as another module. No model knows an API of the server or the storage.
"""
