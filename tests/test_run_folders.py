"""Folders of runs: one process at each, nobody else's images, and a sweep removes what a sweep made."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy
import pytest

from experiments import approximate, data, plan, programs, reproduce, rerun, run_folders, store, sweep, train
from experiments.__main__ import main

from .sweep_cases import ROOT, SMALL, inline

QUIET = {"say": lambda text: None}
FLAGS = ["--dataset", "digits", "--model", "gs", "--epochs", "1", "--m", "2", "--training-images", "0", "--quiet"]


def images(path, seed, n=300):
    rng = numpy.random.default_rng(seed)
    train, test = ((rng.random((m, 9)) < 0.3).astype("uint8") for m in (n, 50))
    numpy.savez(path, train=train, test=test)
    return str(path)


def of(path, **fields):
    return plan.RunConfig(dataset=path, model="gs", epochs=1, m=2, training_images=0, batch_size=50, **fields)


def test_a_run_meets_the_images_that_it_began_with(tmp_path):
    """Another file under the same name: neither its result nor its checkpoint are taken for those of the new one."""
    path = images(tmp_path / "mine.npz", 1)
    config, folder = of(path), tmp_path / "run"
    first = train.run(config, folder, quiet=True)
    assert train.run(config, folder, quiet=True) == first
    images(tmp_path / "mine.npz", 2)
    with pytest.raises(ValueError, match=r"result.json is of other images \(SHA-256 [0-9a-f]{12}\.\.\.\) than mine"):
        train.run(config, folder, quiet=True)
    (folder / "result.json").unlink()
    with pytest.raises(ValueError, match="checkpoint.npz is of other images"):
        train.run(config, folder, quiet=True)
    assert main(["evaluate", str(folder)]) == 2
    pathlib.Path(path).unlink()
    store.write_result(folder / "result.json", first)
    assert train.run(config, folder, quiet=True) == first  # no images, nobody else's images


def test_a_group_meets_the_images_that_it_began_with(tmp_path):
    from experiments import replica_group

    path = images(tmp_path / "mine.npz", 1)
    configs = [of(path, seed=seed) for seed in (1, 2)]
    group = replica_group.Group(configs, data.load(path), numpy)
    group.save(tmp_path / "checkpoint.npz")
    images(tmp_path / "mine.npz", 2)
    with pytest.raises(ValueError, match="checkpoint.npz is of other images"):
        replica_group.Group(configs, data.load(path), numpy, tmp_path / "checkpoint.npz")


def test_an_approximation_is_not_another_ones(tmp_path):
    config = plan.ApproximationConfig(model="gs", n_categories=4, samples=10, steps=2, law_draws=10)
    approximate.run(config, tmp_path)
    with pytest.raises(ValueError, match="belongs to run"):
        approximate.run(dataclasses.replace(config, seed=1), tmp_path)


def test_a_sweep_leaves_the_folders_of_train(tmp_path, capsys):
    """And `train` makes a sweep's folder its own."""
    runs, results = tmp_path / "runs", tmp_path / "results"
    assert main(["train", *FLAGS, "--runs", str(runs)]) == 0
    config = plan.RunConfig(dataset="digits", model="gs", epochs=1, m=2, training_images=0)
    assert sweep.execute([config, SMALL], results, runs, inline, **QUIET) == {}
    assert (runs / config.id / "checkpoint.npz").exists() and not (runs / SMALL.id).exists()
    assert main(["evaluate", str(runs / config.id), "--m", "2", "--limit", "99999"]) == 0
    assert "note" not in capsys.readouterr().err and (runs / config.id / "evaluation-test-m2.json").exists()
    (runs / config.id / run_folders.MARK).touch()  # as if a sweep had begun it
    (runs / config.id / ".checkpoint.npz.x.tmp").touch()  # and been killed
    assert main(["train", *FLAGS, "--runs", str(runs)]) == 0
    names = {path.name for path in (runs / config.id).iterdir()}
    assert run_folders.MARK not in names and not [name for name in names if name.endswith(".tmp")]


def test_train_leaves_a_run_that_another_process_is_at(tmp_path, capsys):
    config = plan.RunConfig(dataset="digits", model="gs", epochs=1, m=2, training_images=0)
    with sweep.lock(tmp_path / config.id):
        assert main(["train", *FLAGS, "--runs", str(tmp_path)]) == 2
    assert "another process is at" in capsys.readouterr().err


def test_what_a_killed_sweep_left_of_finished_runs_is_removed(tmp_path, monkeypatch):
    """Killed between the storing of a result and the removal of the folder; of groups, too."""
    options = dataclasses.replace(
        reproduce.narrowed("smoke"), models=("gs",), temperatures=(0.5,), seeds=(1, 2), epochs=1
    )
    runs, results = tmp_path / "runs", tmp_path / "results"
    arguments = (("table1",), options, results, runs, QUIET["say"])
    removed = run_folders.shutil.rmtree
    monkeypatch.setattr(run_folders.shutil, "rmtree", lambda *args, **kwargs: None)
    assert reproduce.run(*arguments, make_executor=inline, replicas=2) == {}
    monkeypatch.setattr(run_folders.shutil, "rmtree", removed)
    left = {path.name for path in runs.iterdir()}
    assert len(left) == 6 and sum(name.startswith("group-") for name in left) == 2
    kept = next(runs / name for name in left if not name.startswith("group-"))
    run_folders.keep(kept)
    with sweep.lock(
        held := next(runs / name for name in sorted(left) if not name.startswith("group-") and runs / name != kept)
    ):
        assert reproduce.run(*arguments, make_executor=inline) == {}
        assert {path for path in runs.iterdir()} == {kept, held}
    assert reproduce.run(*arguments, make_executor=inline) == {}
    assert {path for path in runs.iterdir()} == {kept}


def test_an_estimate_says_what_was_begun(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reproduce.cost, "run_seconds", lambda config, data_dir: 1.0)
    options = ["table1", "--models", "gs", "--temperatures", "0.5", "--seeds", "1", "2",
               "--runs", str(tmp_path / "runs"),
               "--results", str(tmp_path / "results"), "--workers", "1", "--estimate"]  # fmt: skip
    assert main(options) == 0 and "begun" not in capsys.readouterr().out
    configs = reproduce.upper_bound(
        [(("table1",), reproduce.narrowed("smoke", models=("gs",), temperatures=(0.5,), seeds=(1, 2)))], {}
    )
    store.save_checkpoint(tmp_path / "runs" / configs[0].id / "checkpoint.npz", {}, {})
    assert main(options) == 0 and "1 of them were begun" in capsys.readouterr().out
    assert main([*options, "--shard", "1/2"]) == 2


def test_evaluate_says_that_a_run_is_not_done(tmp_path, capsys):
    flags = [*FLAGS, "--runs", str(tmp_path)]
    assert main(["train", *flags]) == 0
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    arrays, meta = store.load_checkpoint(folder / "checkpoint.npz")
    store.save_checkpoint(folder / "checkpoint.npz", arrays, meta | {"step": 3})
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--m", "2"]) == 0
    total = len(data.load("digits").train) // 100
    assert f"has come to step 3 of {total}" in capsys.readouterr().err
    assert json.loads((folder / "evaluation-test-m2.json").read_text())["step"] == 3
    arrays.pop(next(name for name in arrays if name.startswith("params.")))
    store.save_checkpoint(folder / "checkpoint.npz", arrays, meta)
    assert main(["evaluate", str(folder)]) == 2 and "is no checkpoint of this program" in capsys.readouterr().err
    (folder / "checkpoint.npz").unlink()
    assert main(["evaluate", str(folder)]) == 2 and "delete result.json and train" in capsys.readouterr().err
    for wrong in (5, None, {"kind": ["x"]}, {"dataset": 5}, {"temperature": {}}):
        (folder / "config.json").write_text(json.dumps(wrong))
        assert main(["evaluate", str(folder)]) == 2 and "error: " in capsys.readouterr().err


def test_flags_that_change_nothing_are_said(tmp_path, capsys):
    idle = ["--delta", "2", "--relax-coupled", "--law", "simulated", "--law-draws", "7", "--validation"]
    flags = [flag for flag in FLAGS if flag not in ("--training-images", "0")]
    assert main(["train", *flags, *idle, "--training-images", "5", "--runs", str(tmp_path)]) == 0
    said = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("note: --")]
    assert sorted(said) == ["--delta", "--law", "--law-draws", "--relax-coupled", "--training-images"]
    used = ["--model", "igr_sb", "--delta", "2", "--law", "simulated", "--law-draws", "7", "--training-images", "5"]
    assert main(["train", *flags, *used, "--runs", str(tmp_path)]) == 0
    assert "note: --" not in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["file", "folder", "keys", "no home"])
def test_a_prior_cache_that_cannot_be_read_costs_time_alone(broken, tmp_path, monkeypatch):
    monkeypatch.setattr(programs.prior, "igr_i_prior", lambda k: (-0.5, -0.25))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = plan.RunConfig(model="igr_i", n_categories=3)
    assert programs.fitted_prior(config) == {"mu": -0.5, "log_sigma": -0.25}
    (path,) = tmp_path.rglob("*.json")
    if broken == "file":
        path.unlink()
        path.parent.rmdir()
        path.parent.write_text("in the way")
    elif broken == "folder":
        path.unlink()
        path.mkdir()
    elif broken == "keys":
        store.write_result(path, {"id": path.stem})
    else:
        monkeypatch.setattr(programs, "cache_folder", lambda: pathlib.Path("~nobody-of-that-name/x").expanduser())
    assert programs.fitted_prior(config) == {"mu": -0.5, "log_sigma": -0.25}


def test_memory_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["train", *FLAGS, "--n-variables", "1000000000", "--runs", str(tmp_path)]) == 2
    assert "more memory than there is" in capsys.readouterr().err


def test_reruns_of_what_is_no_result_are_refused(tmp_path, capsys):
    config = dataclasses.replace(SMALL, epochs=1)
    sweep.work(config.as_dict(), tmp_path, tmp_path / "runs")
    (path,) = tmp_path.glob("*.json")
    fine = json.loads(path.read_text())
    path.write_text(json.dumps(fine | {"metrics": {}}))
    assert main(["rerun", str(path)]) == 2 and "does not match its checksum" in capsys.readouterr().err
    (tmp_path / "notes.json").write_text("{}")
    assert main(["rerun", str(tmp_path / "notes.json")]) == 2 and "is damaged or no result" in capsys.readouterr().err
    for flags, error in (
        (["--tolerance", "nan"], "--tolerance must be"),
        (["--pick", "0"], "--pick must be at least 1"),
    ):
        assert main(["rerun", *flags]) == 2 and error in capsys.readouterr().err


def test_a_rerun_ends_its_child_and_survives_its_death(tmp_path):
    code, words = rerun._ended([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], "", None)
    assert (code, words) == (-9, "")
    script = ("import sys; from experiments import rerun; print('ready', flush=True); "
              "rerun._ended([sys.executable, '-c', 'import time; time.sleep(600)'], '', None)")  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    children = pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("no /proc")
    while not children.read_text().split():
        pass
    child = int(children.read_text().split()[0])
    time.sleep(0.5)  # past its start
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 128 + signal.SIGTERM
    assert not pathlib.Path(f"/proc/{child}").exists()
