"""The Responses API and the Conversations API.

`routes` lists the requests, and `handlers` answers them. `objects` builds conversations and responses, and `items`
builds items. `options` defines the options that clients may send, `lifecycle` changes the status of responses, and
`events` yields the events of a stream.
"""
