"""Find the settings that serve a workload best on this machine, by measuring, and write them as a profile.

In go a target, a workload and limits for latency; out come a profile that `serving up --profile` takes and
a JSON file with every measurement behind it. Engines are measured in turns with the best so far, and a
candidate must win by more than the noise, so a busy machine leaves the default in place.
"""
