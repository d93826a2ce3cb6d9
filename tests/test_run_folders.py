"""Folders of runs: one process at each, nobody else's images, and a sweep removes what a sweep made."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy
import pytest

from experiments import (
    approximate,
    data,
    estimates,
    fitted_prior,
    plan,
    reproduce,
    rerun,
    run_folders,
    store,
    sweep,
    sweep_work,
    train,
)
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


def test_a_run_meets_the_images_that_it_began_with(tmp_path, capsys):
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
    assert main(["evaluate", str(folder)]) == 0
    assert "holds other images than this run was trained on" in capsys.readouterr().err
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


def test_a_sweep_meets_the_images_that_its_results_are_of(tmp_path):
    path, folders = images(tmp_path / "mine.npz", 1), (tmp_path / "results", tmp_path / "runs")
    options = reproduce.narrowed(
        "smoke", datasets=(path,), models=("gs",), estimators=("plain",), temperatures=(0.5,), seeds=(1,), epochs=1, m=2
    )
    options = dataclasses.replace(options, training_images=0)

    def go(*seeds):
        more = dataclasses.replace(options, seeds=seeds)
        return reproduce.run(("table1",), more, *folders, QUIET["say"], make_executor=inline)

    assert go(1) == {}
    images(tmp_path / "mine.npz", 2)
    assert go(1) == {}  # nothing is to be run
    with pytest.raises(ValueError, match="seed1-.*json is of other images"):
        go(1, 2)
    images(tmp_path / "mine.npz", 1)
    assert go(1, 2) == {} and len(list(folders[0].glob("*.json"))) == 2


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
    (runs / config.id / run_folders.MARK).write_text(str(results.resolve()))  # as if a sweep had begun it
    (runs / config.id / ".checkpoint.npz.x.tmp").touch()  # and been killed
    assert main(["train", *FLAGS, "--runs", str(runs)]) == 0
    names = {path.name for path in (runs / config.id).iterdir()}
    assert run_folders.MARK not in names and not [name for name in names if name.endswith(".tmp")]


def test_train_leaves_a_run_that_another_process_is_at(tmp_path, capsys):
    config = plan.RunConfig(dataset="digits", model="gs", epochs=1, m=2, training_images=0)
    with sweep.lock(tmp_path / config.id):
        assert main(["train", *FLAGS, "--runs", str(tmp_path)]) == 2
    assert "another process is at" in capsys.readouterr().err


@pytest.fixture
def left(tmp_path, monkeypatch):
    """(arguments of a sweep that was killed before it removed any folder, the folder of its runs)."""
    options = reproduce.narrowed("smoke", models=("gs",), temperatures=(0.5,), seeds=(1, 2), epochs=1)
    runs = tmp_path / "runs"
    arguments = (("table1",), options, tmp_path / "results", runs, QUIET["say"])
    with monkeypatch.context() as patch:
        patch.setattr(sweep_work, "remove", lambda folder, results: None)
        patch.setattr(reproduce, "remove_done", lambda *args: None)
        assert reproduce.run(*arguments, make_executor=inline, replicas=2) == {}
    names = sorted(path.name for path in runs.iterdir())
    assert len(names) == 6 and sum(name.startswith("group-") for name in names) == 2
    return arguments, runs


def folders(runs):
    return sorted(path.name for path in runs.iterdir())


def test_what_a_killed_sweep_left_of_finished_runs_is_removed(left):
    """Of groups, too, and what was being removed; but nothing that `train` keeps or somebody is at."""
    arguments, runs = left
    (runs / f"{run_folders.GONE}x").mkdir()
    kept, held = [path for path in sorted(runs.glob("digits-*"))][:2]
    run_folders.keep(kept)
    with sweep.lock(held):
        assert reproduce.run(*arguments, make_executor=inline) == {}
        assert folders(runs) == sorted([kept.name, held.name])
    assert reproduce.run(*arguments, make_executor=inline) == {}
    assert folders(runs) == [kept.name]


def test_a_sweep_into_other_results_is_not_disturbed(left, tmp_path):
    """`published` and `table1` share the folder of runs: what one has begun is no leftover of the other."""
    arguments, runs = left
    before = folders(runs)
    others = tmp_path / "others"
    shutil.copytree(arguments[2], others)
    assert reproduce.run(*arguments[:2], others, *arguments[3:], make_executor=inline) == {}
    assert folders(runs) == before


def test_a_group_with_failed_replicas_keeps_its_folder(left):
    arguments, runs = left
    group = next(runs.glob("group-*"))
    arrays, meta = store.load_checkpoint(group / "checkpoint.npz")
    store.save_checkpoint(group / "checkpoint.npz", arrays, meta | {"failed": {"digits-x": "diverged"}, "configs": []})
    damaged = next(path for path in runs.glob("group-*") if path != group)
    (damaged / "checkpoint.npz").write_bytes(b"damaged")
    assert reproduce.run(*arguments, make_executor=inline) == {}
    assert folders(runs) == sorted([group.name, damaged.name])
    store.save_checkpoint(damaged / "checkpoint.npz", {}, {})
    (group / "checkpoint.npz").unlink()
    (group / "error.txt").touch()
    assert reproduce.run(*arguments, make_executor=inline) == {}
    assert folders(runs) == sorted([group.name, damaged.name])
    (group / "error.txt").unlink()
    assert reproduce.run(*arguments, make_executor=inline) == {}
    assert folders(runs) == [damaged.name]


def test_a_run_that_was_done_meanwhile_leaves_no_folder(tmp_path):
    results, runs = tmp_path / "results", tmp_path / "runs"
    for _ in range(2):  # the second comes when the first has finished
        sweep.work(SMALL.as_dict(), results, runs)
        assert folders(runs) == []
    fields = [dataclasses.replace(SMALL, seed=seed).as_dict() for seed in (1, 2)]
    for _ in range(2):
        assert sweep.work_group(fields, "group-1", results, runs) == ({}, [])
        assert folders(runs) == []
    assert not run_folders.is_held(runs / "nobody") and folders(runs) == []


def test_a_lock_of_a_removed_folder_is_none(tmp_path, monkeypatch):
    """Whoever opened it before it was removed, and takes it afterwards, would be alone with a file that is gone."""
    folder, real, done = tmp_path / "run", run_folders._taken, []
    folder.mkdir()
    run_folders.claim(folder, tmp_path)

    def taken(file):
        if not done:
            done.append(1)
            run_folders.remove(folder, tmp_path)
        return real(file)

    monkeypatch.setattr(run_folders, "_taken", taken)
    with sweep.lock(folder):
        assert (folder / "lock").exists() and not (folder / run_folders.MARK).exists()
        with pytest.raises(sweep.Busy, match="another process is at"), sweep.lock(folder):
            pass


def test_an_estimate_says_what_was_begun(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(estimates.cost, "run_seconds", lambda config, data_dir: 1.0)
    options = ["table1", "--models", "gs", "--temperatures", "0.5", "--seeds", "1", "2",
               "--runs", str(tmp_path / "runs"),
               "--results", str(tmp_path / "results"), "--workers", "1", "--estimate"]  # fmt: skip
    assert main(options) == 0 and "begun" not in capsys.readouterr().out
    configs = reproduce.upper_bound(
        [(("table1",), reproduce.narrowed("smoke", models=("gs",), temperatures=(0.5,), seeds=(1, 2)))], {}
    )
    store.save_checkpoint(tmp_path / "runs" / configs[0].id / "checkpoint.npz", {}, {"seconds": 61.0})
    assert main(options) == 0
    assert "1 of them were begun, and go on from checkpoints with 1 min 1 s of that" in capsys.readouterr().out
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
    monkeypatch.setattr(fitted_prior.prior, "igr_i_prior", lambda k: (-0.5, -0.25))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = plan.RunConfig(model="igr_i", n_categories=3)
    assert fitted_prior.fitted_prior(config) == {"mu": -0.5, "log_sigma": -0.25}
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
        monkeypatch.setattr(fitted_prior, "cache_folder", lambda: pathlib.Path("~nobody-of-that-name/x").expanduser())
    assert fitted_prior.fitted_prior(config) == {"mu": -0.5, "log_sigma": -0.25}


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
