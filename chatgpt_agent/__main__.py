"""`python -m chatgpt_agent` is the console script."""

from chatgpt_agent.cli.main import main

main()
