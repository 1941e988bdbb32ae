"""Files to sections: one loader per kind of file, found by its suffix.

In goes a path; out come sections (a PDF's page, the text under a Markdown heading, a whole text
file) with the page and heading a citation needs, and warnings for what could not be read. A new
kind of file is one module with one function, named in `registry.LOADERS`.
"""
