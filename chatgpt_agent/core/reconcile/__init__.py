"""The ledger compared with OpenAI's own figures of usage and costs."""
