"""What packaging/Containerfile and packaging/compose.yml say."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "packaging/Containerfile"
COMPOSE = ROOT / "packaging/compose.yml"


def steps() -> list[tuple[str, str]]:
    """The instructions of the Containerfile with their arguments, each in one line."""
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    pairs = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, " ".join(arguments.split())) for name, arguments in pairs]


def arguments_of(instruction: str) -> list[str]:
    """The arguments of each instruction of this kind."""
    return [arguments for name, arguments in steps() if name == instruction]


def program_of(instruction: str) -> list[str]:
    """The command line of the only instruction of this kind, in its JSON form."""
    [arguments] = arguments_of(instruction)
    command: list[str] = json.loads(arguments[arguments.index("[") :])
    return command


def copy_sources(folder: Path) -> None:
    """Copies into a folder what the first stage copies from the checkout."""
    folder.mkdir(parents=True)
    for arguments in arguments_of("COPY"):
        *sources, target = arguments.split()
        if not sources[0].startswith("--from="):
            for source in sources:
                _copy(ROOT / source, folder / target if target != "./" else folder / source)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def service(name: str) -> dict[str, Any]:
    """A service of the compose file."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"][name]
    return content
