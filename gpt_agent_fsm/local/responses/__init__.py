"""The Responses API, with Conversations: conversations, their items, and responses.

`routes` lists the requests and `handlers` answers them. A field of an answer belongs in `objects` (of an item: in
`items`), an option that is only checked and returned in `options`, a step of a response's life in `lifecycle`, and an
event of a stream in `events`.
"""
