"""The use cases of administrators, which commands and REST call."""
