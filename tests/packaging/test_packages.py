"""The wheel and the source distribution: what is inside, and that they are enough."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

HELLO = """
import asyncio, sys
from temporal_state import StateBackend, StateStore, StateType, configure

async def main():
    configure("memory://hello")
    await StateStore.save_state("greeting", "Hello!", id="hello", type=StateType.WORKFLOWS)
    async with StateBackend.open("memory://hello") as backend:
        print(await backend.documents.get("hello"))

asyncio.run(main())
assert not {"obstore", "psycopg", "pytest"} & set(sys.modules)
"""


def run(*command: object, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built as a release is; the wheel from the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


def names_in(built: Path) -> tuple[set[str], set[str]]:
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    return in_wheel, in_source


@pytest.mark.slow
def test_only_what_belongs_there_is_inside(built):
    in_wheel, in_source = names_in(built)
    info = f"temporal_state-{PROJECT['version']}.dist-info"
    tops = {name.partition("/")[0] for name in in_wheel}
    assert tops == {"temporal_state", "pytest_temporal_state.py", info}
    code = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "temporal_state").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in in_wheel if name.startswith("temporal_state/")} == code
    wanted = {
        "README.md",
        "CHANGELOG.md",
        "docs/README.md",
        "samples/hello.py",
        "tests/conftest.py",
    }
    assert "temporal_state/py.typed" in code
    assert code | wanted <= in_source
    for name in in_wheel | in_source:
        assert not {"__pycache__", "local", ".venv", "reference"} & set(Path(name).parts), name


@pytest.mark.slow
def test_what_is_installed_from_the_wheel_works(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--quiet", "--no-compile", wheel, cwd=tmp_path)
    assert run(python, "-c", HELLO, cwd=tmp_path) == "{'greeting': 'Hello!'}\n"
    version = "from importlib import metadata; print(metadata.version('temporal-state'))"
    assert run(python, "-c", version, cwd=tmp_path).strip() == PROJECT["version"]
    command = [tmp_path / "venv" / "bin" / "temporal-state"]
    without = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert without.returncode == 1
    assert "pip install 'temporal-state[cli]'" in without.stderr
    plugins = "from importlib import metadata; print(*metadata.entry_points(group='pytest11'))"
    assert "pytest_temporal_state" in run(python, "-c", plugins, cwd=tmp_path)


def test_the_changelog_has_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## {PROJECT['version']}" in text
