"""What an import brings: little, and in the workflow sandbox the very same classes."""

import subprocess
import sys
from pathlib import Path

import pytest

import temporal_state
from temporal_state import documents, runs, storage, temporal

# The table of a package is beside its imports for type checkers, and could differ from them.
PACKAGES = [temporal_state, storage, documents, runs, temporal]

LIGHT = """
import sys
import temporalio.client, temporalio.worker, temporalio.workflow
before = set(sys.modules)
{statement}
print(*sorted(set(sys.modules) - before))
"""
SANDBOXED = """
import asyncio, sys
from temporalio import workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

sys.path.insert(0, {folder!r})
from in_sandbox import Workflow
from temporal_state.temporal._plugin import _with_passthrough

async def main():
    runner = SandboxedWorkflowRunner()
    for one in (runner, _with_passthrough(runner)):
        one.prepare_workflow(workflow._Definition.must_from_class(Workflow))

asyncio.run(main())
print("done")
"""
WORKFLOW = """
import builtins
from temporalio import workflow
from temporal_state import Checkpoint, StateType, errors, state
import temporal_state

with workflow.unsafe.imports_passed_through():
    import sys
    from temporal_state.documents import StateType as OutsideType
    from temporal_state.runs import Checkpoint as Outside

assert Checkpoint is Outside and temporal_state.Run is sys.modules["temporal_state.runs"].Run
assert StateType is OutsideType
assert issubclass(temporal_state.ConflictError, errors.StateError)

@workflow.defn
class Workflow:
    @workflow.run
    async def run(self) -> None:
        pass
"""


def output_of(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_itself_brings_only_its_errors():
    brought = set(output_of(LIGHT.format(statement="import temporal_state")).split())
    assert brought == {"temporal_state", "temporal_state._lazy", "temporal_state.errors"}


@pytest.mark.parametrize(
    "statement", ["from temporal_state import state", "import temporal_state; temporal_state.state"]
)
def test_what_workflow_code_imports_brings_no_backend_and_nothing_heavy(statement):
    brought = output_of(LIGHT.format(statement=statement)).split()
    assert "temporal_state.state" in brought
    heavy = {"aiofiles", "ctypes", "sqlite3", "pydantic.main", "temporal_state.backend"}
    assert not heavy & set(brought)
    catalog = {name for name in brought if name.startswith("temporal_state.runs.catalog.")}
    assert catalog <= {"temporal_state.runs.catalog._answers"}  # what workflow code gets of it


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_name_that_is_exported_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018 it raises


def test_the_sandbox_has_the_same_classes_with_and_without_the_plugin(tmp_path: Path):
    (tmp_path / "in_sandbox.py").write_text(WORKFLOW)
    assert output_of(SANDBOXED.format(folder=str(tmp_path))) == "done\n"
