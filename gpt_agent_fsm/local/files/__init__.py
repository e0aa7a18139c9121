"""The Files API: files that clients upload, and whose ids the messages of both other APIs may name.

`routes` lists the requests, `handlers` answers them, and `upload` reads the form of an upload. `stored` has the files
as the other APIs see them: it finds the file with an id, and hands its content to a model.
"""
