"""The distributions are complete: sdist and wheel have every file, and the installed wheel runs from any folder."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from chatgpt_agent import __version__
from chatgpt_agent.adapters.migrate import known_migrations
from tests.support.commands import environ_with
from tests.support.container import arguments_of, copy_sources, program_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NOT_SOURCE = (".*", "build", "data", "dist", "*.egg-info", "__pycache__")


class Built:
    """Built distributions and the names of the files in each, without the sdist's top folder."""

    def __init__(self, folder: Path) -> None:
        [self.sdist] = folder.glob("*.tar.gz")
        [self.wheel] = folder.glob("*.whl")
        with tarfile.open(self.sdist) as tar:
            self.in_sdist = {name.partition("/")[2] for name in tar.getnames()}
        with zipfile.ZipFile(self.wheel) as archive:
            self.in_wheel = set(archive.namelist())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The distributions, built from a copy of the checkout, which stays unchanged."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*NOT_SOURCE))
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source"], folder)
    return Built(folder / "dist")


@pytest.fixture(scope="module")
def program(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, installed from the wheel into a fresh virtual environment."""
    folder = tmp_path_factory.mktemp("installed")
    scripts = folder / "venv" / "bin"
    own_pip = importlib.util.find_spec("pip") is not None  # to install another one takes five seconds
    venv.create(folder / "venv", with_pip=not own_pip)
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python"] if own_pip else [scripts / "pip"]
    options = [
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]  # as the Containerfile does
    run([*pip, "install", *options, built.wheel], folder)
    return scripts / "chatgpt-agent"


def run(command: list[str | Path], folder: Path, settings: dict[str, str] | None = None) -> str:
    """Runs a command that succeeds in a folder; returns its standard output."""
    environ = environ_with(settings or {})
    environ.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_sdist_has_every_migration(built: Built) -> None:
    """The sdist has each migration with its rollback where setup.py expects them."""
    files = {f"migrations/{path.name}" for path in (ROOT / "migrations").glob("*.sql")}
    assert len(files) == 2 * len(known_migrations())
    assert files <= built.in_sdist


def test_the_wheel_has_every_migration(built: Built) -> None:
    """The wheel has each migration with its rollback inside the package."""
    files = {f"chatgpt_agent/migrations/{path.name}" for path in (ROOT / "migrations").glob("*.sql")}
    assert files <= built.in_wheel


def test_the_wheel_has_every_module(built: Built) -> None:
    """setup.py names the packages one by one: none is forgotten."""
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "chatgpt_agent").rglob("*.py")}
    assert modules <= built.in_wheel


def test_the_wheel_has_every_file_of_the_console(built: Built) -> None:
    """Templates, style sheets, scripts, licenses of other projects, and catalogues of translations."""
    console = ROOT / "chatgpt_agent/web/console"
    folders = [console / name for name in ("templates", "static", "locale")]
    files = {path.relative_to(ROOT).as_posix() for each in folders for path in each.rglob("*") if path.is_file()}
    assert {path.rpartition(".")[2] for path in files} >= {"html", "css", "js", "json", "txt", "mo"}
    assert files <= built.in_wheel
    assert files <= built.in_sdist


def test_the_wheel_has_nothing_else(built: Built) -> None:
    """One package, and what says how it is installed."""
    assert {name.partition("/")[0] for name in built.in_wheel} == {
        "chatgpt_agent",
        f"chatgpt_agent-{__version__}.dist-info",
    }


@pytest.fixture(scope="module")
def container_wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that the first stage of packaging/Containerfile builds: of the files that it copies, in a checkout that
    was installed before and has files of another version in `build/`, some of them newer than the sources."""
    folder = tmp_path_factory.mktemp("container")
    source, old = folder / "source", folder / "source" / "build" / "lib" / "chatgpt_agent"
    copy_sources(source)
    (old / "migrations").mkdir(parents=True)
    for name in ("removed.py", "__init__.py", "migrations/9999.of-another-version.sql"):
        (old / name).write_text("")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", source], folder)
    [wheel] = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_nothing_of_another_version_gets_into_a_wheel(container_wheel: zipfile.ZipFile) -> None:
    """The build begins with an empty folder."""
    assert not [name for name in container_wheel.namelist() if "removed" in name or "9999" in name]
    assert __version__ in container_wheel.read("chatgpt_agent/__init__.py").decode()


def test_image_has_all_that_the_wheel_has(container_wheel: zipfile.ZipFile, built: Built) -> None:
    """The files that the Containerfile copies are sufficient."""
    assert set(container_wheel.namelist()) == built.in_wheel


def test_image_installs_the_lock_and_nothing_else() -> None:
    """Each package with its hash; then the program alone, built by what the lock has."""
    installs = [step for step in arguments_of("RUN") if "pip install" in step]
    assert len(installs) == 2
    assert {"--require-hashes", "requirements.lock"} <= set(installs[0].split())
    assert {"--no-deps", "--no-build-isolation", "."} <= set(installs[1].split())


def test_both_have_the_license(built: Built) -> None:
    """The MIT license demands its text in every copy."""
    assert "LICENSE" in built.in_sdist
    assert f"chatgpt_agent-{__version__}.dist-info/licenses/LICENSE" in built.in_wheel


def test_the_installed_program_tells_its_version(program: Path, tmp_path: Path) -> None:
    """The program runs from an unrelated folder."""
    assert run([program, "--version"], tmp_path).splitlines()[0] == f"chatgpt-agent, version {__version__}"


def test_the_installed_program_migrates(program: Path, tmp_path: Path, empty_dsn: str) -> None:
    """The installed program uses the migrations of its package."""
    settings = {"DATABASE_URL": empty_dsn, "DATA_DIR": str(tmp_path)}
    out = run([program, "migrate"], tmp_path, settings)
    assert out.splitlines() == [f"applied {name}" for name in known_migrations()]


def test_the_installed_program_runs_commands(program: Path, tmp_path: Path, empty_dsn: str) -> None:
    """The installed program migrates a fresh database."""
    settings = {"DATABASE_URL": empty_dsn, "DATA_DIR": str(tmp_path)}
    run([program, "price", "set", "m", "--input", "1", "--output", "2"], tmp_path, settings)
    assert run([program, "price", "list"], tmp_path, settings).splitlines()[-1].split()[:3] == ["m", "1", "2"]


def test_the_installed_program_has_the_health_check_of_the_image(
    program: Path, tmp_path: Path, refused_port: int
) -> None:
    """Its command exists, and fails while no agent runs."""
    name, *arguments = program_of("HEALTHCHECK")
    settings = environ_with({"PORT": str(refused_port), "DATA_DIR": str(tmp_path)})
    done = subprocess.run(
        [program.with_name(name), *arguments], cwd=tmp_path, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("/healthz: Connection refused\n")


def test_the_installed_program_names_the_extra_that_is_missing(program: Path, tmp_path: Path) -> None:
    """Without the extra `otel`, a start that should export spans ends with one line."""
    settings = environ_with({"OTEL_ENDPOINT": "http://127.0.0.1:4318", "DATA_DIR": str(tmp_path)})
    done = subprocess.run([program, "serve"], cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "otel_endpoint: OpenTelemetry is not installed: pip install 'chatgpt-agent[otel]', or remove this key\n"
    )
