"""Fuzzes one target with atheris until its time is over or it finds something: the process that `tests.fuzz` starts.

python -m tests.fuzz.one_target TARGET [ARGUMENT OF LIBFUZZER ...]
"""

import sys

import atheris

with atheris.instrument_imports(include=["chatgpt_agent.core"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()  # ends the process
