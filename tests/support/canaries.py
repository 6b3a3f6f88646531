"""The secrets of all tests, and the search for them in the files that tests leave behind."""

from pathlib import Path

SECRETS: set[str] = set()  # every OpenAI key and token of an agent in this run


def search(folder: Path) -> tuple[int, list[str]]:
    """Returns the number of files below a folder, and the paths of those that hold a secret in clear text."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    secrets = [secret.encode() for secret in SECRETS]
    return len(files), [str(path) for path in files if _holds(path, secrets)]


def _holds(path: Path, secrets: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # a running server has deleted it
        return False
    # Most files have none of these prefixes, so the many secrets need not be searched for.
    return any(prefix in content for prefix in (b"cga_", b"cgm_", b"sk-")) and any(key in content for key in secrets)
