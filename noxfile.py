"""
One word for each task: `nox -s lint types tests`; `nox --list` shows them all.

Each word makes an environment of its own in `.nox/` and keeps it; `-R` uses it again without
installing. Arguments after `--` go to the program: `nox -s tests -- tests/documents`.
"""

import pathlib
import shutil

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "tests"]

PYTEST = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")


def install(session: nox.Session, *groups: str) -> None:
    """Install chatmark from this folder, with its command line and groups of dependencies."""
    session.install("-e", ".[cli]", *(word for group in groups for word in ("--group", group)))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("--group", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, with two checkers."""
    install(session, "test", "cluster", "typing")
    session.run("mypy")
    # Without the option it takes the packages of `.venv`, if there is one.
    session.run("basedpyright", "--pythonpath", f"{session.bin}/python")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests in parallel, those on a cluster excepted."""
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
        env={"CHATMARK_MACHINE_EXAMPLES": "10"},
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
    """Run the programs, commands, names and prose of the documents."""
    install(session, "test")
    session.run(*PYTEST, "tests/documents")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel into `dist/`, and use it where the source is not beside it."""
    session.install("build")
    session.run("python", "-m", "build", "--wheel", silent=True)
    built = max(pathlib.Path("dist").glob("chatmark-*.whl"), key=lambda each: each.stat().st_mtime)
    # An environment that has nothing but the wheel and what it asks for.
    clean = pathlib.Path(session.create_tmp()) / "clean"
    session.run("python", "-m", "venv", "--clear", str(clean))
    session.run(f"{clean}/bin/pip", "install", "-q", f"{built.resolve()}[cli]", external=True)
    session.chdir(clean)
    session.run("bin/chatmark", "--version", external=True)
    session.run("bin/chatmark", "explain", "51008", external=True, silent=True)


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
