"""A model that follows a script in YAML.

`model` contains the class for users, and describes the form of a script. `schema` defines the structure of a script,
and reads scripts. A new key of a rule or step must be added to `schema` as a field, and `model` must act on it.
"""
