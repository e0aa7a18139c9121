"""The Responses API and the Conversations API.

`routes` lists the requests, and `handlers` answers them. `objects` has the fields of conversations and responses, and
`items` has the fields of items. `options` has the options that are only checked and returned, `lifecycle` has the steps
of a response, and `events` has the events of a stream.
"""
