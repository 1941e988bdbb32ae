"""What is asked: synthetic prompts of exact length, files, our bilingual set, conversations.

In: a description and a seed. Out: plan.Task lists. The same seed makes the same prompts; every prompt
begins differently unless a shared prefix is asked for, so that a warm prefix cache flatters nobody.
"""
