"""
One word for each task: `nox -s lint types tests`; `nox --list` shows them all.

Each word makes an environment of its own in `.nox/` and keeps it; `-R` uses it again without
installing. Arguments after `--` go to the program: `nox -s tests -- tests/documents`.
"""

import os
import pathlib
import shutil
import subprocess

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "tests"]

PYTEST = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
LOCK = ".ci/locked.txt"


def install(session: nox.Session, *groups: str) -> None:
    """Install chatmark from this folder, with its command line and groups of dependencies."""
    session.install("-e", ".[cli]", *(word for group in groups for word in ("--group", group)))


def find_python(version: str) -> str | None:
    """Return an interpreter of this version, from the path or from pyenv."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [shutil.which(f"python{version}"), *root.glob(f"versions/{version}.*/bin/python")]
    for each in map(str, filter(None, found)):
        # pyenv has stand-ins that find nothing.
        said = subprocess.run([each, "--version"], capture_output=True, text=True, check=False)
        if said.stdout.startswith(f"Python {version}."):
            return each
    return None


for _found in filter(None, map(find_python, PYTHONS)):
    # nox looks for a Python on the path alone.
    os.environ["PATH"] = f"{pathlib.Path(_found).parent}{os.pathsep}{os.environ['PATH']}"


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("--group", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with two checkers, and the types of the public API with a third."""
    install(session, "test", "cluster", "typing", "examples")
    session.run("mypy")
    # Without the option it takes the packages of `.venv`, if there is one.
    session.run("basedpyright", "--pythonpath", f"{session.bin}/python")
    session.run("pyrefly", "check", "tests/project/typed_api.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests in parallel, those on a cluster excepted."""
    install(session, "test")
    session.run(*PYTEST, *(session.posargs or ["-n", "auto"]))


@nox.session(python=PYTHONS, download_python="never")
def matrix(session: nox.Session) -> None:
    """Run the tests on each Python that pyproject.toml names and this machine has."""
    install(session, "test")
    session.run(*PYTEST, *(session.posargs or ["-n", "auto"]))


@nox.session
def cluster(session: nox.Session) -> None:
    """Run the tests on a Ray cluster of this machine."""
    install(session, "test", "cluster")
    session.run(*PYTEST, *(session.posargs or ["tests/unit/ray/test_cluster.py"]))


@nox.session
def foreign(session: nox.Session) -> None:
    """Point clients and signers of others at the emulator, those of npm where it is installed."""
    install(session, "test")
    session.install("timsdk==1.1.12")
    folder = session.create_tmp()
    if shutil.which("npm"):
        npm = ("npm", "install", "--no-audit", "--no-fund", "--prefix", folder)
        session.run(*npm, "tls-sig-api-v2@1.0.2", external=True, silent=True)
    modules = {"CHATMARK_NODE_MODULES": f"{folder}/node_modules"}
    session.run(*PYTEST, "tests/unit/emulator/test_foreign.py", env=modules)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml declares."""
    session.install("--resolution", "lowest-direct", "-e", ".[cli]", "--group", "test")
    session.run(
        *PYTEST,
        *(session.posargs or ["-n", "auto", "tests"]),
        env={"MACHINE_EXAMPLES": "10"},
    )


@nox.session
def locked(session: nox.Session) -> None:
    """Run the tests with the versions of `.ci/locked.txt`."""
    session.install("-c", LOCK, "-e", ".[cli]", "--group", "test")
    session.run(*PYTEST, *(session.posargs or ["-n", "auto"]))


@nox.session
def lock(session: nox.Session) -> None:
    """Renew `.ci/locked.txt`: the newest versions that fit, for all systems, without an index."""
    session.install("uv")
    session.run(
        *("uv", "pip", "compile", "-q", "--upgrade", "--universal", "--python-version", "3.11"),
        *("--no-header", "--no-annotate", "--strip-extras"),
        *("--no-emit-index-url", "--no-emit-find-links"),
        *("--extra", "cli", "--group", "dev", "--group", "package", "-o", LOCK, "pyproject.toml"),
    )


@nox.session
def smoke(session: nox.Session) -> None:
    """
    Run each benchmark once, in a tiny size.
    """
    install(session, "test")
    session.run(*PYTEST, *(session.posargs or ["benchmarks/test_smoke.py"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Run the programs and commands of the documents and the examples, and make the site."""
    install(session, "test", "docs", "examples")
    session.run(*PYTEST, *(session.posargs or ["tests/documents"]))
    # Every warning is an error: a link that leads nowhere, a name that does not exist. Parts of
    # pages are made from the package, so that no page may be kept from an earlier run (-E).
    session.run("sphinx-build", "-q", "-E", "-W", "--keep-going", "docs", "docs/_build/html")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build wheel and sdist into `dist/`, check them, and use the wheel without the source."""
    session.install("--group", "package")
    session.run("python", "-m", "build", silent=True)
    built, source = (
        str(
            max(pathlib.Path("dist").glob(pattern), key=lambda each: each.stat().st_mtime).resolve()
        )
        for pattern in ("chatmark-*.whl", "chatmark-*.tar.gz")
    )
    session.run("twine", "check", "--strict", built, source)
    session.run("check-wheel-contents", built)
    program = pathlib.Path("tests/project/smoke.py").resolve()
    folder = pathlib.Path(session.create_tmp())
    # Environments that have nothing but the wheel and its dependencies.
    for version in PYTHONS:
        python = find_python(version)
        if python is None:
            session.log(f"there is no Python {version}")
            continue
        clean = folder / version
        session.run(python, "-m", "venv", "--clear", str(clean), external=True)
        session.run(f"{clean}/bin/pip", "install", "-q", f"{built}[cli]", external=True)
        with session.chdir(clean):
            session.run("bin/chatmark", "explain", "51008", external=True, silent=True)
            session.run("bin/python", "-W", "error", str(program), external=True)


@nox.session
def soak(session: nox.Session) -> None:
    """Send a million changes under faults to a server that stops and starts."""
    install(session, "test")
    session.run("python", "tests/long/soak.py", *session.posargs)


@nox.session
def job_soak(session: nox.Session) -> None:
    """Kill a job again and again, and run large ones; `-- disk` fills its disk, as root."""
    install(session, "test")
    for part in [session.posargs] if session.posargs else [["kill"], ["size"]]:
        session.run("python", "tests/long/job_soak.py", *part)


@nox.session
def budget_soak(session: nox.Session) -> None:
    """Share a budget between eight processes that lose their Redis."""
    install(session, "test")
    session.run("python", "tests/long/budget_soak.py", *session.posargs)


@nox.session
def ray_soak(session: nox.Session) -> None:
    """Send a million rows from one process, and from a cluster that loses a worker."""
    install(session, "test", "cluster")
    session.run("python", "tests/long/ray_soak.py", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Simulate a hundred replicas, and compare the figures with `docs/scale.md`."""
    install(session, "test")
    session.run("python", "tests/long/scale.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Feed a million inputs to the reader of answers (CPython 3.11 to 3.13)."""
    install(session, "test", "fuzz")
    session.run("python", "tests/long/fuzz.py", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Break the core in a thousand ways, and list what no test notices."""
    install(session, "test", "mutation")
    session.run("mutmut", "run", *session.posargs)
    session.run("python", "tests/long/survivors.py")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure how near chatmark comes to the limits that are not its own."""
    install(session, "test", "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)
