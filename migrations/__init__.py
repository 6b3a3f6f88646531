"""SQL migrations with their rollbacks, in order of their numbers. Installed as chatgpt_agent.migrations."""
