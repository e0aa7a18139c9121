"""The model written down in YAML.

`model` is what people construct and says what a script looks like, `schema` has the shapes of a script and reads it. A
new key of a rule or step is a field of `schema`, and `model` plays it.
"""
