"""What figures/REPRODUCTION.md says of Tables 2, 3, 5 and 6."""

from __future__ import annotations

import numpy

from . import Statement as S
from .parts import DEEP, IGR, SCRIPT, lead, one, spread, told


def ratios(n, sheet, row, other):
    """[seconds of training of each seed of a row, over those of another's]."""
    return [a / b for a, b in zip(n.seconds(sheet, row), n.seconds(sheet, other), strict=True)]


def extreme(scores):
    """min or max, whichever of the temperatures {temperature: score} is best; None if neither is."""
    best = max(scores, key=scores.get)
    return min if best == min(scores) else max if best == max(scores) else None


STRUCTURED = [
    S(
        "constant pixel model: {} on held-out images after 5 epochs at each of the four temperatures, {} on the "
        "test images after 20, with every seed. The paper prints {}",
        lambda n: (
            min(n.held_out("table2", f"{DEEP} GS", "loglik").values()),
            one(n.seeds("table2", f"{DEEP} GS", "loglik"), 0.1),
            n("table2", f"{DEEP} GS", "paper"),
        ),
    ),
    S(
        "it leads IGR-I by {}, IGR-Planar by {} and IGR-SB by {} nats in the bound of m samples; by one sample "
        "IGR-I leads it by {}",
        lambda n: [
            *(n.gap("table2", SCRIPT + "GS", SCRIPT + name, "loglik") for name in ("IGR-I", "IGR-Planar", "IGR-SB")),
            n.gap("table2", SCRIPT + "IGR-I", SCRIPT + "GS", "one_sample"),
        ],
    ),
    S(
        "the bounds of the IGR rows change by {} to {} nats between the choice of the temperature",
        lambda n: spread(
            [n("table2", row, "loglik") - max(n.held_out("table2", row, "loglik").values()) for row in IGR_ROWS]
        ),
    ),
    S(
        "while their training losses fall",
        lambda n: all(
            history[-1]["train_loss"] < history[4]["train_loss"]
            for row in IGR_ROWS
            for history in n.histories("table2", row)
        ),
    ),
    S(
        'In "double_linear" IGR chose the lowest temperature that it was offered, Gumbel-Softmax the highest, and '
        "after 5 epochs IGR-I was {} nats ahead",
        lambda n: (
            max(n.held_out("table2", SCRIPT + "IGR-I", "loglik").values())
            - max(n.held_out("table2", SCRIPT + "GS", "loglik").values())
            if [min, min, min, max] == [extreme(n.held_out("table2", SCRIPT + name, "loglik")) for name in (*IGR, "GS")]
            else numpy.nan
        ),
    ),
    S(
        "is {} nats from its printed number and every other row more than {}",
        lambda n: (
            abs(n.above_paper("table2", SCRIPT + "GS", "loglik")),
            numpy.floor(min(abs(n.above_paper("table2", row, "loglik")) for row in SLOW)),
        ),
    ),
    S(
        "IGR-SB, printed {} nats before all others, is the last of the IGR rows in both networks",
        lambda n: lead(n, "table2", f"{DEEP} IGR-SB", [f"{DEEP} {m}" for m in ("IGR-I", "IGR-Planar", "GS")], "paper"),
    ),
    S(
        "is the last of the IGR rows in both networks, in the second by less than the seeds can tell",
        lambda n: (
            not told(n, "table2", SCRIPT + "IGR-SB", SCRIPT + "IGR-Planar", "loglik")
            and all(
                n("table2", where + "IGR-SB", "loglik")
                < min(n("table2", where + m, "loglik") for m in ("IGR-I", "IGR-Planar"))
                for where in (SCRIPT, DEEP + " ")
            )
        ),
    ),
]
IGR_ROWS = [where + name for where in (SCRIPT, DEEP + " ") for name in IGR]
SLOW = [where + name for where in (SCRIPT, DEEP + " ") for name in (*IGR, "GS") if where + name != SCRIPT + "GS"]

MIXTURES = [
    S(
        "The paper's two numbers are {} apart, ours {}",
        lambda n: [abs(n.gap("table3", *MM, metric)) for metric in ("paper", "loglik")],
    ),
    S(
        "lies {} nats below the bound of m samples here",
        lambda n: numpy.mean([n("table3", row, "loglik") - n("table3", row) for row in MM]),
    ),
    S(
        "training IGR-SB-MM took {} to {} times as long as DLDPMM",
        lambda n: spread(ratios(n, "table3", *MM)),
    ),
    S(
        "its ELBO would be {} to {} nats lower: that choice is part of its {}, and DLDPMM knows no such sticks",
        lambda n: [*spread(n.seeds("table3", MM[0], "untrained_kl")), n("table3", MM[0], "loglik")],
    ),
]
MM = ("mnist IGR-SB-MM + SL", "mnist DLDPMM + SL")

RELAX = [
    S(
        "IGR-I + RELAX keeps its lead, {} nats",
        lambda n: lead(n, "table6", f"{DEEP} IGR-I + RELAX", FOUR, "discrete_elbo"),
    ),
    S(
        "the order of the paper's rows is ours: IGR-I + RELAX, USPGBL, GS + RELAX, IGR-I, GS",
        lambda n: all(
            list(scores) == sorted(scores, reverse=True)
            for scores in ([n("table6", f"{DEEP} {row}", "discrete_elbo") for row in ORDER],)
        ),
    ),
    S(
        "with RELAX they took {} to {} times (Gumbel-Softmax) and {} to {} times (IGR-I) as long as without",
        lambda n: [
            x for m in ("GS", "IGR-I") for x in spread(ratios(n, "table6", f"{DEEP} {m} + RELAX", f"{DEEP} {m}"))
        ],
    ),
]
ORDER = ("IGR-I + RELAX", "USPGBL", "GS + RELAX", "IGR-I", "GS")
FOUR = [f"{DEEP} {row}" for row in ORDER[1:]]
