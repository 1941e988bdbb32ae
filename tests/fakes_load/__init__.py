"""A fast fake OpenAI server whose timing is known: the truth that the benchmarks are checked against."""
