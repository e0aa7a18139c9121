"""Models: whatever decides what the server answers.

`protocol` says what a model is, `asking` asks one and checks its answer. Every other module or folder is one kind of
model: a new one belongs beside them. No model knows of a wire or of the storage.
"""
