"""The command `demo`: an agent with a simulated OpenAI and made-up usage, to look around in without an OpenAI key."""
