"""What figures/REPRODUCTION.md says of the results, in words and numbers, for `report --check`."""

from __future__ import annotations

import numpy
import scipy.stats

from . import Statement as S
from .mnist import DEEP_TABLES, LINEAR_TABLES
from .other_images import FASHION, FASHION_DEEP, OMNIGLOT
from .parts import DEEP, IGR, SCRIPT, lead, one


def lost(law, k):
    """The probability that a law puts on k, k + 1, ...: what K = k categories cannot give."""
    return law.sf(k - 1)


POISSON, NEGATIVE_BINOMIAL = scipy.stats.poisson(50), scipy.stats.nbinom(50, 0.6)

SUPPORT = [
    S(
        "loses {} or {} of Poisson(50), and {} or {} of NB(50, .6)",
        lambda n: [lost(law, k) for law in (POISSON, NEGATIVE_BINOMIAL) for k in (20, 40)],
    ),
]


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
        "is the last of the IGR rows in both networks",
        lambda n: all(
            n("table2", where + "IGR-SB", "loglik")
            < min(n("table2", where + m, "loglik") for m in ("IGR-I", "IGR-Planar"))
            for where in (SCRIPT, DEEP + " ")
        ),
    ),
]
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
        "with RELAX they took {} (Gumbel-Softmax) to {} times (IGR-I) as long as without",
        lambda n: [
            n.seconds("table6", f"{DEEP} {m} + RELAX") / n.seconds("table6", f"{DEEP} {m}") for m in ("GS", "IGR-I")
        ],
    ),
]
ORDER = ("IGR-I + RELAX", "USPGBL", "GS + RELAX", "IGR-I", "GS")
FOUR = [f"{DEEP} {row}" for row in ORDER[1:]]

COSTS = [
    S(
        "Table 1, MNIST, linear {}, nonlinear {}; Table 2 {}; Table 3 {}; Table 5 {}; Table 6 {}; Fashion-MNIST, "
        "linear {}, nonlinear {}; the drawings {}.",
        lambda n: [n.seed_hours(name) for name in (
            "table1", "table1_nonlinear", "table2", "table3", "table5", "table6", "table1_fmnist",
            "table1_fmnist_nonlinear", "table1_omniglot",
        )],
    ),
]  # fmt: skip
PAGE = [
    *COSTS,
    *SUPPORT,
    *LINEAR_TABLES,
    *DEEP_TABLES,
    *STRUCTURED,
    *MIXTURES,
    *RELAX,
    *FASHION,
    *FASHION_DEEP,
    *OMNIGLOT,
]
