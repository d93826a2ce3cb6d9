"""Sweeps over the ranks of an MPI job. Skipped without mpi4py and mpiexec (`pip install mpi4py mpich` has both)."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import store

from .sweep_cases import FIT, ROOT, SMALL, metrics, tiny_images, unbroken, wait_for

pytest.importorskip("mpi4py", reason="mpi4py is not installed (pip install mpi4py)")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="mpiexec is not installed (an MPI library's; pip has mpich)")

SCRIPT = """
import sys
from pathlib import Path
from experiments import plan, store, sweep

if __name__ == "__main__":
    configs = [plan.from_dict(fields) for fields in store.read_json("configs.json")]
    failed = sweep.execute(configs, Path("results").resolve(), Path("runs").resolve(), sweep.mpi_executor)
    store.write_json("failed.json", failed)
"""


def job(folder):
    """The script on three ranks, of which two work; Open MPI has to be told that root and few cores are no accident."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }  # fmt: skip
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures", "script.py"]
    with open(folder / "said.txt", "ab") as said:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip


def test_results_of_an_mpi_job_are_those_of_a_local_sweep_even_if_it_is_killed(tmp_path):
    base = dataclasses.replace(SMALL, dataset=tiny_images(tmp_path))
    configs = [dataclasses.replace(base, seed=s, epochs=2 if s < 6 else 200) for s in range(8)] + [FIT]
    bad = dataclasses.replace(base, batch_size=5000)
    store.write_json(tmp_path / "configs.json", [c.as_dict() for c in [bad, *configs]])
    (tmp_path / "script.py").write_text(SCRIPT)
    first = job(tmp_path)
    assert wait_for(lambda: len(list((tmp_path / "results").glob("*.json"))) >= 2), (tmp_path / "said.txt").read_text()
    os.killpg(first.pid, signal.SIGKILL)  # a lost rank ends its whole job: this is as bad as it gets
    first.wait()
    assert not (tmp_path / "failed.json").exists()
    assert job(tmp_path).wait(120) == 0, (tmp_path / "said.txt").read_text()
    failed = store.read_json(tmp_path / "failed.json")
    assert list(failed) == [bad.id] and "batch_size 5000 is larger" in failed[bad.id]
    assert metrics(tmp_path / "results") == unbroken(configs, tmp_path / "unbroken")
