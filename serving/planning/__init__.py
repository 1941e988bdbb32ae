"""The parts of the plan, each a pure decision: hardware, profile and model in, flags with reasons out.

`serving.command` puts them together. `items` holds the shapes they share; the other modules decide one thing
each: parallelism, memory, attention, tasks, features, environment, and whether vLLM has an option at all.
"""
