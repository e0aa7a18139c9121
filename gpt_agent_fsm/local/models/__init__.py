"""Models: they decide the server's answers.

`protocol` defines a model, `asking` asks one and checks its answer. Every other module or folder is one kind of
model: a new one belongs beside them. No model knows of a wire or of the storage.
"""
