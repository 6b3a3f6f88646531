"""The console: pages for administrators, over the same use cases as the commands and REST."""
