"""Full disks, quotas and size limits: nothing half-written, nothing lost, and the error says which file and why.

Three ways: the process's limit on file sizes (EFBIG from the system itself), /dev/full, and a small tmpfs where this
user may mount one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import data_download, data_formats, store, sweep, train

from .sweep_cases import ROOT, SMALL, inline, metrics, unbroken

resource = pytest.importorskip("resource", reason="no limits on file sizes on this system")
LARGE = dataclasses.replace(SMALL, architecture="nonlinear", seed=1)  # a checkpoint of megabytes
QUIET = {"say": lambda text: None}


@contextlib.contextmanager
def no_file_larger_than(size):
    """Writes beyond `size` bytes fail with EFBIG, in this whole process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith((".tmp", ".part"))]


def test_a_write_that_does_not_fit_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    store.write_json(path, {"x": 1})
    with no_file_larger_than(1000), pytest.raises(OSError, match="File too large, writing: '.*a.json'") as caught:
        store.write_json(path, {"x": "long" * 1000})
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(path)
    assert store.read_json(path) == {"x": 1} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["mkstemp", "fsync", "chmod", "replace"])
def test_a_disk_that_fills_up_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "a.json"
    store.write_json(path, {"x": 1})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.tempfile if step == "mkstemp" else os, step, full)
    with pytest.raises(OSError, match="No space left on device, writing: '.*a.json'"):
        store.write_json(path, {"x": 2})
    assert store.read_json(path) == {"x": 1} and list(tmp_path.iterdir()) == [path]


def test_a_sweep_reports_the_run_that_did_not_fit_and_a_later_one_finishes_it(tmp_path):
    """One run's checkpoint is too large for the disk; the others' are not."""
    configs = [LARGE, SMALL, dataclasses.replace(SMALL, seed=2)]
    said = []
    with no_file_larger_than(500_000):
        failed = sweep.execute(configs, tmp_path / "results", tmp_path / "runs", inline, say=said.append)
    assert list(failed) == [LARGE.id] and any(line.startswith("FAILED") for line in said)
    checkpoint = tmp_path / "runs" / LARGE.id / "checkpoint.npz"
    assert f"File too large, writing: '{checkpoint}'" in failed[LARGE.id]
    assert not checkpoint.exists() and leftovers(tmp_path) == []
    assert len(metrics(tmp_path / "results")) == 2
    assert sweep.execute(configs, tmp_path / "results", tmp_path / "runs", inline, **QUIET) == {}
    assert metrics(tmp_path / "results") == unbroken(configs, tmp_path / "unbroken")


def test_the_old_checkpoint_stays_good(tmp_path, monkeypatch):
    """The second checkpoint does not fit. The run goes on from the first, later, to the same bytes."""
    whole = train.run(SMALL, tmp_path / "whole", quiet=True)
    real, saves = store.write_atomically, []

    def second_fails(path, content):
        saves.append(path)
        with no_file_larger_than(1000 if len(saves) == 3 else 10**9):  # config.json, a checkpoint, a checkpoint
            real(path, content)

    monkeypatch.setattr(store, "write_atomically", second_fails)
    with pytest.raises(OSError, match="File too large, writing: '.*checkpoint.npz'"):
        train.run(SMALL, tmp_path / "run", quiet=True, checkpoint_seconds=0)
    monkeypatch.undo()
    assert store.load_checkpoint(tmp_path / "run" / "checkpoint.npz")[1]["step"] == 1 and leftovers(tmp_path) == []
    again = train.run(SMALL, tmp_path / "run", quiet=True)
    assert "resumed at step 1" in (tmp_path / "run" / "log.txt").read_text()
    assert [again[k] for k in ("metrics", "parameters_sha256")] == [whole[k] for k in ("metrics", "parameters_sha256")]


def test_a_result_that_cannot_be_stored_is_not_lost(tmp_path, monkeypatch):
    """The disk of the results is full, that of the runs is not: nothing is trained again."""
    results, real = tmp_path / "results", os.replace

    def full(source, target):
        if Path(target).parent == results:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    failed = sweep.execute([SMALL], results, tmp_path / "runs", inline, **QUIET)
    assert f"No space left on device, writing: '{results / SMALL.id}.json'" in failed[SMALL.id]
    assert list(results.iterdir()) == []
    monkeypatch.setattr(os, "replace", real)
    monkeypatch.setattr(train, "train", None)  # would fail if called
    assert sweep.execute([SMALL], results, tmp_path / "runs", inline, **QUIET) == {}
    assert metrics(results) and list((tmp_path / "runs").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_log_that_cannot_be_written_is_named(tmp_path):
    """Reported like any other run's trouble, and trained by the later sweep."""
    folder = tmp_path / "runs" / SMALL.id
    folder.mkdir(parents=True)
    (folder / "log.txt").symlink_to("/dev/full")
    failed = sweep.execute([SMALL], tmp_path / "results", tmp_path / "runs", inline, **QUIET)
    assert f"No space left on device, writing: '{folder / 'log.txt'}'" in failed[SMALL.id]
    (folder / "log.txt").unlink()
    assert sweep.execute([SMALL], tmp_path / "results", tmp_path / "runs", inline, **QUIET) == {}
    assert metrics(tmp_path / "results") == unbroken([SMALL], tmp_path / "unbroken")


def test_a_download_that_does_not_fit_leaves_nothing(tmp_path):
    (tmp_path / "published").write_bytes(bytes(200_000))
    path = tmp_path / "cache" / "file.gz"
    with no_file_larger_than(100_000), pytest.raises(data_formats.DataError) as caught:
        data_download.download([(tmp_path / "published").as_uri()], path, lambda file: None, progress=False)
    assert f"{path} cannot be written (File too large)" in str(caught.value)
    assert list(path.parent.iterdir()) == []
    data_download.download([(tmp_path / "published").as_uri()], path, lambda file: None, progress=False)
    assert path.stat().st_size == 200_000


SCRIPT = """
import shutil, sys
from pathlib import Path
from experiments import plan, store, train

config = plan.from_dict(store.read_json("config.json"))
try:
    train.run(config, Path("small/run"), quiet=True, checkpoint_seconds=0)
except OSError as error:
    print(error)
print(sorted(path.name for path in Path("small/run").iterdir()))
shutil.copytree("small/run", "kept")
"""


@pytest.mark.parametrize("room", [0.5, 1.5, 2.5], ids=["none fits", "one checkpoint fits", "all fits"])
def test_a_disk_that_is_really_full(tmp_path, room):
    """A tmpfs with room for half a checkpoint, for one and a half (the old one and half of the new), for both."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    config = dataclasses.replace(SMALL, n_variables=20, n_categories=10)  # a checkpoint of many pages
    whole = train.run(config, tmp_path / "whole", quiet=True)
    page = 4096
    size = (tmp_path / "whole" / "checkpoint.npz").stat().st_size // page * room + 5  # the other files, a page each
    (tmp_path / "small").mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    store.write_json(tmp_path / "config.json", config.as_dict())
    command = f"mount -t tmpfs -o size={int(size) * page} tmpfs small || exit 77; exec {sys.executable} script.py"
    child = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    if child.returncode in (1, 77):
        pytest.skip(f"this user may mount no tmpfs: {child.stderr.strip()}")
    assert child.returncode == 0, child.stderr
    expected = {"config.json", "log.txt"} | ({"checkpoint.npz"} if room > 1 else set())
    assert str(sorted(expected | ({"result.json"} if room > 2 else set()))) in child.stdout
    assert ("No space left on device, writing: 'small/run/checkpoint.npz'" in child.stdout) == (room < 2)
    again = train.run(config, tmp_path / "kept", quiet=True)
    assert [again[k] for k in ("metrics", "parameters_sha256")] == [whole[k] for k in ("metrics", "parameters_sha256")]
