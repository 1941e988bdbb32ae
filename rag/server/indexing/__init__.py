"""Documents on their way into the index: uploads to disk, and jobs that index, each in a process of its own.

In goes a multipart request or the names of documents; out come files in their place and a job, whose progress
whoever asks is told. Nothing here knows of routes or keys beyond the owner's id.
"""
