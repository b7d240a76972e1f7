"""The source distribution, and the wheel built from it and installed in a fresh environment."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from pgretrieval import assets

ROOT = Path(__file__).parents[2]
SHIPPED = {"pgretrieval": ROOT / "pgretrieval", "pgretrieval/sql": ROOT / "sql", "pgretrieval/migrations": ROOT / "migrations"}
SEARCH = """
import sys
import numpy as np
import pgretrieval
from pgretrieval import assets

assert str(assets.SQL).startswith(sys.prefix), assets.SQL
with pgretrieval.connect(sys.argv[1]) as database:
    docs = database.create_collection("docs")
    vectors = np.eye(64, dtype=np.float32)
    docs.add([{"id": f"p{n}", "text": f"text {n}"} for n in range(64)], vectors=list(vectors[:, None]))
    print([hit.id for hit in docs.search(vectors=vectors[5:6], k=1)])
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_has_every_file_and_nothing_else(built: Path):
    """The wheel contains every file that the library reads, SQL included, and nothing else."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in tracked.stdout.splitlines()]
    wanted = {
        f"{place}/{file.relative_to(folder)}"
        for place, folder in SHIPPED.items()
        for file in files
        if file.is_file() and file.is_relative_to(folder)
    }
    assert there == wanted
    assert any(name.startswith("pgretrieval/sql/functions/search/") for name in there)


def test_the_source_distribution_has_the_sql(built: Path):
    """The source distribution contains the SQL, so the wheel can be built from it."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    assert {"sql/bootstrap.sql", "migrations/env.py", "pgretrieval/assets.py", "README.md"} <= names


def test_the_package_index_would_take_both(built: Path):
    """Metadata and README are valid for the package index."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_installed_wheel_searches(built: Path, tmp_path: Path, database_url: str):
    """In a fresh environment with only the wheel, the schema is installed and a search runs."""
    environment = tmp_path / "fresh"
    venv.create(environment, with_pip=False)
    libraries = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": str(environment)}))
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(libraries)  # as an installer does with a wheel of pure Python
    (libraries / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    program = tmp_path / "search.py"
    program.write_text(SEARCH)
    python = environment / "bin" / "python"
    done = subprocess.run([python, program, database_url], cwd=tmp_path, capture_output=True, text=True, env={}, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['p5']"


def test_a_checkout_reads_its_own_sql():
    """A checkout reads its own SQL, not a copy or an installed package."""
    assert assets.SQL in (ROOT / "sql", ROOT / "pgretrieval" / "sql")
    assert (assets.SQL / "bootstrap.sql").is_file()
    assert (assets.MIGRATIONS / "env.py").is_file()
