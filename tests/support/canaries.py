"""Secrets that tests make up, and the search for them in whatever tests leave behind."""

from pathlib import Path

SECRETS: set[str] = set()  # every OpenAI key and token that an agent was given in this run


def search(folder: Path) -> tuple[int, list[str]]:
    """How many files are below a folder, and those that hold a secret in the clear."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    wanted = [secret.encode() for secret in SECRETS]
    return len(files), [str(path) for path in files if _holds(path, wanted)]


def _holds(path: Path, wanted: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # a server is still at work in there
        return False
    # One look for what all tokens and keys begin with spares most files the look for each of them.
    return any(sign in content for sign in (b"cga_", b"cgm_", b"sk-")) and any(secret in content for secret in wanted)
