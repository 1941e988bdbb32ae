"""Reports: tables and plots, on one page for eyes.

In: sections of words, tables and pictures, whose cells are texts ready to be read. Out: an HTML page that
needs nothing beside itself, Markdown for a pull request, tables for a terminal. jinja2 and matplotlib are
imported here and nowhere else in core.
"""
