"""Files to sections: one loader per kind of file, found by its suffix.

In goes a path; out come sections (a PDF's page, the text under a heading, a block of rows) with the
page and heading a citation needs, and warnings for what could not be read. Sections are made one at a
time, so that a file larger than memory can be read. A new kind of file is one module with one
function, named in `registry.LOADERS`.
"""
