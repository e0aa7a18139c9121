"""The Files API: clients upload files, and name the ids of these files in messages of the other two APIs.

`routes` lists the requests, `handlers` answers them, and `upload` reads the form of an upload. The other APIs use
`stored`, which finds the file with an id and converts its content for a model.
"""
