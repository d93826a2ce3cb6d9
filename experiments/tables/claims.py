"""Which of the paper's claims hold in our runs: each claim, where it was tested, the numbers, and what they say.

A comparison "a > b" over seeds is taken to hold if Welch's test tells the means apart at the level of 5 %, "reversed"
if they differ so the other way, and "not told apart" between the two. With one seed a side the seeds' spread is
unknown: which way the numbers lie is said, if they are two nats apart, and that it is not tested. What is compared is
fixed beforehand: IGR-I stands for IGR, since the best of several models, chosen by the score that is compared, would
win too often. Each row is tested by itself: of twenty true ties one is called by chance.
"""

from __future__ import annotations

from ..plan import MODELS, from_dict
from .claims_others import mixtures, relax, structured, support
from .welch import METRICS, best_of, compare, done_cells, printed_number

HEADER = ("claim of the paper", "where", "metric", "numbers", "the paper prints", "seeds", "in our runs")
LEFT = ("where", "metric", "numbers", "the paper prints", "in our runs")  # text


def rows(sheets, results):
    """The table of claims from the published sheets."""
    scores = _scores(sheets, results)
    return [
        *_igr_beats_gs(scores), *_sl_beats_plain(scores), *_sticks(scores), *structured(sheets, results),
        *mixtures(sheets, results), *relax(sheets, results), *support(sheets, results),
    ]  # fmt: skip


VERDICTS = ("holds", "reversed", "not told apart", "as claimed", "the other way", "too close to say", "did not train")
SUMMARY_HEADER = ("claim of the paper", "metric", *VERDICTS[:3], *(f"one seed: {way}" for way in VERDICTS[3:6]),
                  "a model did not train")  # fmt: skip


def summary(found):
    """How often each verdict was given, for each claim and metric of `rows`."""
    counts = {}
    for row in found:
        where = counts.setdefault((row[0], row[2]), dict.fromkeys(VERDICTS, 0))
        where[next(verdict for verdict in VERDICTS if verdict in row[-1])] += 1
    return [(*key, *(number or "" for number in where.values())) for key, where in counts.items()]


def _scores(sheets, results):
    """{(data set, architecture, estimator): {(model, prior temperature): {metric: [a value a seed]}}} of Table 1.

    With "temperature", the chosen one, and "images", the number of training images of "train". A row with a prior
    temperature that is the chosen one is left out: its prior is no other than that of the row without.
    """
    scores = {}
    for cell, done in done_cells(sheets, results, "table1"):
        temperature = from_dict(done[0]["config"]).temperature
        if cell.prior_temperature == temperature:
            continue
        known = [m for m in METRICS if m in done[0]["metrics"]["all"]]
        values = {m: [r["metrics"]["all"][m]["mean"] for r in done] for m in known}
        trained = [r["metrics"]["train"] for r in done if "train" in r["metrics"]]
        if trained:
            values |= {"train": [t["discrete_elbo"]["mean"] for t in trained], "images": trained[0]["images"]}
        values |= {
            "temperature": temperature,
            "printed": printed_number("table1", cell),
            "table4": printed_number("table4", cell),
        }
        where = scores.setdefault((cell.dataset, cell.architecture, cell.estimator), {})
        where[cell.model, cell.prior_temperature] = values
    return scores


def _place(where):
    dataset, architecture, estimator = where
    return f"{dataset} {architecture}{' + SL' if estimator == 'sl' else ''}"


def _named(model, prior):
    return MODELS[model] + (f" (prior τ {prior:g})" if prior else "")


def _igr_beats_gs(scores):
    for where, models in sorted(scores.items()):
        igr = models.get(("igr_i", None))
        for (model, prior), against in models.items():
            if model != "gs" or not igr:
                continue
            claim = f"IGR-I beats {_named(model, prior)}"
            for metric in ("as_published", "loglik", "discrete_elbo", "continuous_elbo"):
                if metric not in igr or metric not in against:
                    continue
                # the paper prints test scores of the first two only, and nobody knows which of them they are
                printed = (None, None) if metric.endswith("elbo") else (igr["printed"], against["printed"])
                yield claim, _place(where), METRICS[metric], *compare(igr[metric], against[metric], printed)
            if "train" in igr and igr["images"] == against.get("images"):
                numbers = compare(igr["train"], against["train"], (igr["table4"], against["table4"]))
                yield claim, _place(where), METRICS["train"], *numbers


def _sticks(scores):
    """Table 4's order: IGR-SB before the best of the rest."""
    for where, models in sorted(scores.items()):
        sb = models.get(("igr_sb", None), {})
        rest = {_named(*key): v for key, v in models.items() if key[0] != "igr_sb"}
        rest = {name: v for name, v in rest.items() if "images" in v and v["images"] == sb.get("images")}
        if rest:
            best = best_of(rest, "train")
            place, printed = f"{_place(where)}, against {best}", (sb["table4"], rest[best]["table4"])
            numbers = compare(sb["train"], rest[best]["train"], printed)
            yield "IGR-SB has the best discrete ELBO", place, METRICS["train"], *numbers


def _sl_beats_plain(scores):
    for (dataset, architecture, estimator), models in sorted(scores.items()):
        plain = scores.get((dataset, architecture, "plain"), {})
        if estimator != "sl":
            continue
        for key in [key for key in models if key in plain]:
            where = f"{dataset} {architecture} {_named(*key)}"
            ours, theirs = models[key]["temperature"], plain[key]["temperature"]
            where += f", τ {ours:g} against {theirs:g}" if ours != theirs else ""
            printed = models[key]["printed"], plain[key]["printed"]
            for metric in ("as_published", "loglik"):
                numbers = compare(models[key][metric], plain[key][metric], printed)
                yield "SL beats plain", where, METRICS[metric], *numbers
