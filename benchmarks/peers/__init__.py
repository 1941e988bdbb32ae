"""The servers ours is compared with. Each runs in an environment of its own and speaks OpenAI HTTP."""
