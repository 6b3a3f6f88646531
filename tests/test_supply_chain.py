"""requirements.lock fits setup.py, docs/operations/supply-chain.md names every dependency, and no other license is
accepted. `scripts/check supply` installs the lock and reads the licenses of what is in it."""

import importlib.machinery
import importlib.metadata
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PAGE = (ROOT / "docs/operations/supply-chain.md").read_text("utf-8")
EXTRAS = ("", "embedded", "otel")  # that an operator installs
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


class Direct(NamedTuple):
    """A requirement of setup.py, and the extra that it is of."""

    requirement: Requirement
    extra: str


def direct() -> Iterator[Direct]:
    """Yields what an operator's installation requires directly."""
    for text in importlib.metadata.requires("chatgpt-agent") or []:
        requirement = Requirement(text)
        for extra in EXTRAS:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                yield Direct(requirement, extra)
                break


def locked() -> dict[str, str]:
    """Returns each package of the lock with its version."""
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE)}


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """The module of scripts/sbom."""
    loader = importlib.machinery.SourceFileLoader("sbom", str(ROOT / "scripts/sbom"))
    spec = importlib.util.spec_from_loader("sbom", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_lock_fits_the_bounds_of_setup() -> None:
    """Each direct dependency is in the lock, with a version that setup.py allows. If not, run scripts/lock."""
    versions = locked()
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    requirements = [each.requirement for each in direct()] + [Requirement(text) for text in build]
    outside = [
        str(requirement)
        for requirement in requirements
        if not requirement.specifier.contains(versions.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert outside == []


def test_lock_has_hashes_of_every_package() -> None:
    """pip refuses the whole file if one is missing."""
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked()) > 30
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


def test_lock_names_no_index() -> None:
    """It is the same wherever it is made, and pip takes the packages from the index that the operator has set."""
    lines = [line for line in LOCK.splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if "://" in line or re.match(r"-(?!-hash)", line)] == []


def test_page_names_each_direct_dependency() -> None:
    """The table has those of setup.py with their extras, each with a license and a reason."""
    table = PAGE.partition("## Direct dependencies")[2].partition("\n## ")[0]
    rows = [[cell.strip(" `") for cell in row[1:-1].split("|")] for row in table.splitlines() if row.startswith("| `")]
    assert {(name, extra) for name, extra, _, _ in rows} == {(each.requirement.name, each.extra) for each in direct()}
    assert [name for name, _, expression, reason in rows if not expression or not reason] == []


def test_page_names_each_license_with_a_condition(sbom: ModuleType) -> None:
    """The reader sees why these are accepted."""
    conditions = {name for name in sbom.ALLOWED if name.startswith(("LGPL", "MPL"))}
    assert {name for name in conditions if f"**{name}**" in PAGE} == conditions
    assert [name for name in sbom.ALLOWED if name.startswith(("GPL", "AGPL"))] == []


@pytest.mark.parametrize(
    "expression",
    ["GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR AGPL-3.0-only) AND SSPL-1.0", "LicenseRef-Proprietary"],
)
def test_other_license_is_refused(sbom: ModuleType, expression: str) -> None:
    """It does not help that another part of the package has an allowed one."""
    bill = {"components": [{"name": "made-up", "licenses": [{"expression": expression}]}]}
    assert list(sbom.faults(bill, "")) == [f"the license of made-up is {expression}, which is not in ALLOWED"]


@pytest.mark.parametrize("expression", ["MIT", "GPL-3.0-only OR MIT", "MIT AND BSD-3-Clause OR GPL-3.0-only"])
def test_allowed_alternative_is_enough(sbom: ModuleType, expression: str) -> None:
    """The word OR leaves the choice to the user of the package."""
    assert sbom.is_allowed(expression)


def test_package_without_a_license_is_noticed(sbom: ModuleType) -> None:
    """A classifier such as "BSD License" names none of SPDX's."""
    bill = {"components": [{"name": "made-up", "licenses": [{"license": {"name": "BSD License"}}]}]}
    [fault] = sbom.faults(bill, "")
    assert fault.startswith("made-up names no license")


def test_other_license_on_the_page_is_noticed(sbom: ModuleType) -> None:
    """The table states the license of the version in the lock."""
    page = "## Direct dependencies\n| `Made_Up` | | MIT | why |\n## Next"
    bill = {"components": [{"name": "made-up", "licenses": [{"license": {"id": "ISC"}}]}]}
    [fault] = sbom.faults(bill, page)
    assert fault.endswith("says that the license of made-up is MIT; it is ISC")


def test_pythons_are_stated_alike() -> None:
    """The classifiers, python_requires and the page name the same versions."""
    metadata = importlib.metadata.metadata("chatgpt-agent")
    classifiers = metadata.get_all("Classifier") or []
    versions = [match[1] for match in map(re.compile(r"Programming Language .* (3\.\d+)$").match, classifiers) if match]
    assert versions == PYTHONS
    assert metadata["Requires-Python"] == f">={PYTHONS[0]}"
    assert f"\n{PYTHONS[0]} to {PYTHONS[-1]}, on Linux." in PAGE
