"""The benchmark's record as tables: milliseconds, and ratios to ours (above 1: the other is slower)."""

from __future__ import annotations

from ..plan import MODELS

OURS = "ours"
CLOCKS = {"cpu": "CPU time of one thread", "wall": "wall clock"}


def _timed(parts, unit, label=lambda part: f"{MODELS[part['model']]}, {part['architecture']}"):
    """(header, rows): one row for each part, the contestants as columns."""
    names = list(dict.fromkeys(name for part in parts for name in part["times"]))
    header = ("model", f"ours, ms/{unit}", *(name for name in names if name != OURS))
    rows = []
    for part in parts:
        times, own = part["times"], part["times"][OURS]["ms"]
        cells = [label(part), f"{own:.2f}"]
        for name in names:
            if name != OURS:
                cells.append(f"{times[name]['ms']:.2f} ({times[name]['ms'] / own:.2f})" if name in times else "—")
        rows.append(tuple(cells))
    return header, rows


def sections(record):
    """[(title, header, rows)] of everything that was measured."""
    clock = CLOCKS[record["clock"]]
    step = f"Training step of {record['steps'][0]['batch_size']} images"
    out = [(f"{step}, {clock}", *_timed(record["steps"], "step"))]
    if "threaded" in record:
        threads = f"{record['threaded']['threads']} threads for every library, {CLOCKS['wall']}"
        out.append((f"{step}, {threads}", *_timed(record["threaded"]["steps"], "step")))
    if record.get("kernels"):
        header = ("kernels (OPENBLAS_CORETYPE)", "ms")
        title = f"Matrix products of a linear IGR-I step by OpenBLAS's kernels, {CLOCKS['cpu']}"
        out.append((title, header, [(name, f"{ms:.2f}") for name, ms in record["kernels"].items()]))
    images = [("model", "images/s")]
    images += [(f"{MODELS[s['model']]}, {s['architecture']}", f"{s['batch_size'] / s['times'][OURS]['ms'] * 1e3:,.0f}")
               for s in record["steps"]]  # fmt: skip
    out.append(("Training, ours", images[0], images[1:]))
    scores = {part["architecture"]: part for part in record["scores"]}.values()  # every model's are the same
    title = f"Log-likelihood bound of any model, m = {record['scores'][0]['m']}, {clock}"
    out.append((title, *_timed(scores, "image", lambda part: part["architecture"])))
    if record["sweeps"]:
        header = ("model", "ours, steps/s", "best peer", "steps/s", "ours / peer")
        rows, key = [], {"cpu": "cpu_rate", "wall": "rate"}[record["clock"]]
        for part in record["sweeps"]:
            own = part["rates"][OURS][key]
            cells = ("—", "—", "—")
            for name, rate in part["rates"].items():
                if name != OURS:
                    cells = (name, f"{rate[key]:,.0f}", f"{own / rate[key]:.2f}")
            rows.append((f"{MODELS[part['model']]}, {part['architecture']}", f"{own:,.0f}", *cells))
        per = "second of CPU time, times the cores" if key == "cpu_rate" else "second"
        title = f"Sweep, one process for each of {record['provenance']['cores']} cores: steps a {per}"
        out.append((title, header, rows))
    if "scaling" in record:
        first = {}
        rows = []
        for part in record["scaling"]:
            base = first.setdefault(part["axis"], part)
            grown = part["ms"] / base["ms"] / (part["count"] / base["count"])
            axis = part["axis"][:-1] if part["count"] == 1 else part["axis"]
            rows.append((f"{part['count']} {axis}", f"{part['ms']:.2f}", f"{grown:.2f}"))
        header = ("linear IGR-I step", "ms", "ms each, relative to the first")
        out.append(("Growth with runs (100 images each), images and samples", header, rows))
    if "relax" in record:
        out += _relax(record["relax"], clock)
    return out


def _relax(record, clock):
    """Steps of RELAX beside plain ones, and what laws cost."""
    rows = []
    for part in record["steps"]:
        plain, *others = (part["times"][name]["ms"] for name in ("plain", "RELAX", "RELAX, coupled"))
        cells = (f"{ms:.2f} ({ms / plain:.2f})" for ms in others)
        rows.append((f"{MODELS[part['model']]}, {part['architecture']}", f"{plain:.2f}", *cells))
    header = ("model", "plain, ms/step", "RELAX", "RELAX, coupled noise")
    laws = [(name, f"{value:.1f}") for name, value in record["laws"].items()]
    return [
        (f"RELAX, {clock}; in brackets relative to the plain step", header, rows),
        ("Laws of 10 categories", ("what", "µs a law"), laws),
    ]


def caption(record):
    """Where, when and with what."""
    p = record["provenance"]
    libraries = ", ".join(f"{name} {version}" for name, version in record["libraries"].items()) or "no peers"
    threads = f"{record['threads']} BLAS thread" + ("s" if record["threads"] > 1 else "")
    kernels = f" ({p['blas_kernels']} kernels)" if p.get("blas_kernels") else ""
    return (
        f"{record['date']}, {p['cpu']}, {p['cores']} cores, {threads}; Python {p['python']}, NumPy {p['numpy']}, "
        f"{p['blas']}{kernels}, {libraries}. In brackets: relative to ours; above 1 the other is slower."
    )
