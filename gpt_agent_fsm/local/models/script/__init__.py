"""The model written in YAML.

`model` has the class for users and describes a script, `schema` has the shapes of a script and reads it. A
new key of a rule or step is a field of `schema`, and `model` plays it.
"""
