"""Files of docker/: they agree with the Makefile, pyproject.toml and the command line. No image is built."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.specifiers import SpecifierSet

from pgretrieval.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile.service").read_text(encoding="utf-8")
COMPOSED = ["compose.yaml", "service.yaml"]


def composed(name: str) -> dict[str, Any]:
    return yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))


def project(pattern: str) -> str:
    """The part of pyproject.toml that a pattern finds."""
    found = re.search(pattern, (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found[1]


def copied() -> list[str]:
    """Files and folders of the checkout that the image's instructions copy."""
    lines = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", DOCKERFILE, re.MULTILINE)
    return [name for line in lines for name in line.split()[:-1]]


def commands() -> Iterator[tuple[str, list[str]]]:
    """The commands of image and services."""
    yield "Dockerfile.service", ast.literal_eval(re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[-1])
    for name, service in composed("service.yaml")["services"].items():
        if "command" in service and "build" in service:
            yield name, service["command"]


def test_torch_has_the_makefiles_version():
    """The image has the torch that `make install` installs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^TORCH := torch==(.*)$", makefile, re.MULTILINE) == re.findall(
        r"^ARG TORCH=(.*)$", DOCKERFILE, re.MULTILINE
    )


def test_the_python_is_one_that_the_project_supports():
    """Both stages have one Python, which pyproject.toml allows."""
    versions = re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE)
    assert len(versions) == 2
    assert len(set(versions)) == 1
    assert versions[0] in SpecifierSet(project(r'^requires-python = "(.*)"$'))


def test_the_extras_exist():
    """The image installs extras of pyproject.toml."""
    (extras,) = re.findall(r'"\.\[(.*)\]"', DOCKERFILE)
    assert extras.split(",") == ["serve", "mcp"]
    assert all(project(rf"^({extra}) = \[") for extra in extras.split(","))


def test_the_copied_files_make_the_package(tmp_path: Path):
    """What the image copies is there, is not ignored, and is enough to build the wheel."""
    ignored = (DOCKER / "Dockerfile.service.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in copied()} == {line for line in ignored if line.startswith("!")}
    source = tmp_path / "source"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    built = subprocess.run(build, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list(tmp_path.glob("pgretrieval-*.whl"))) == 1


@pytest.mark.parametrize(("where", "words"), list(commands()))
def test_a_command_is_one_of_the_command_line(where: str, words: list[str]):
    """Every command is one of `pgretrieval`, with options that it has."""
    assert words[0] == "pgretrieval"
    command = typer.main.get_command(app).commands[words[1]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words[2:] if word.startswith("--")} <= known, where


def test_the_entrypoint_reads_the_password(tmp_path: Path):
    """The entrypoint gives libpq the password of the file, and runs the command in its place."""
    (tmp_path / "password").write_text("a secret\n")
    command = [DOCKER / "entrypoint.sh", "sh", "-c", 'echo "${PGPASSWORD-none}"; exit 3']
    given = _run(command, PGPASSWORD_FILE=str(tmp_path / "password"))
    assert (given.returncode, given.stdout) == (3, "a secret\n")
    assert _run(command).stdout == "none\n"
    missing = _run(command, PGPASSWORD_FILE=str(tmp_path / "nowhere"))
    assert (missing.returncode, missing.stdout) != (3, "none\n")
    assert "nowhere" in missing.stderr


def test_services_name_what_there_is():
    """Services wait for services and use secrets and volumes that the file declares; no secret is written into it."""
    text = (DOCKER / "service.yaml").read_text(encoding="utf-8")
    found = composed("service.yaml")
    extended = composed("compose.yaml")["services"]["postgres"]
    services = {name: {**(extended if "extends" in service else {}), **service} for name, service in found["services"].items()}
    assert set(services) == {"postgres", "migrate", "service", "worker"}
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service.get("secrets", [])) <= set(found["secrets"]), name
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(found["volumes"]), name
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["worker"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert not re.search(r"://\w+:\w+@|PASSWORD: (?!\"\")", text)
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", COMPOSED)
def test_compose_accepts_the_file(name: str, tmp_path: Path):
    """`config` of Docker Compose accepts the file; version 1, which Debian has, without the project's name."""
    found = [words for words in (["docker", "compose"], ["docker-compose"]) if _answers([*words, "version"])]
    if not found:
        pytest.skip("Docker Compose is not installed here")
    (tmp_path / "docker" / "secrets").mkdir(parents=True)
    for secret in ("password", "token"):
        (tmp_path / "docker" / "secrets" / secret).touch()
    for each in COMPOSED:
        lines = (DOCKER / each).read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / "docker" / each).write_text("".join(line for line in lines if not line.startswith("name:")))
    checked = _run([*found[0], "--file", str(tmp_path / "docker" / name), "config", "--quiet"])
    assert checked.returncode == 0, checked.stderr


def _answers(words: list[str]) -> bool:
    return shutil.which(words[0]) is not None and _run(words).returncode == 0


def _run(words: list[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, env=given)
