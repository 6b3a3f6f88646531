"""`chatgpt-agent completion`: scripts with which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "chatgpt-agent"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands.

    It completes options and their values, too. Write it to a file from which the shell loads it: for bash
    `chatgpt-agent` in ~/.local/share/bash-completion/completions, for zsh `_chatgpt-agent` in a folder of `$fpath`, for
    fish `chatgpt-agent.fish` in ~/.config/fish/completions.

    \b
    Example: chatgpt-agent completion fish > ~/.config/fish/completions/chatgpt-agent.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click has each of SHELLS"
    variable = f"_{PROGRAM.replace('-', '_')}_COMPLETE".upper()  # that click reads
    click.echo(kind(context.find_root().command, {}, PROGRAM, variable).source())
