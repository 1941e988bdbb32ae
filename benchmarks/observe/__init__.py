"""What the server and the machine did meanwhile, sampled once in a while beside the load.

In: a URL and process ids. Out: rows of plain numbers with the time since the run's epoch.
"""
