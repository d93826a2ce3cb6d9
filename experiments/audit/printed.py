"""What the paper's printed tables say about each other: no model is run, the printed numbers are compared."""

from __future__ import annotations

import math

from ..paper_numbers import DATASETS, TABLE_1, TABLE_4, TABLE_5, TABLE_6
from .record import Measure, Outcome, finding

GROUP = "The printed tables"


@finding(
    "table-5-rows",
    title="Table 5's baselines are Table 1's linear rows",
    where="appendix D, Table 5",
    says="Table 5 is for the nonlinear architecture",
    right="its first two rows equal Table 1's Linear + SL to every digit",
    why="The nonlinear rows of Table 1 are 3 and 6 nats better, which would narrow the lead that RELAX shows.",
    equation="Table 5 (IGR-I, GS) = Table 1 (Linear, + SL)",
    right_code="experiments.paper_numbers.TABLE_1, nonlinear rows",
    wrong_code="experiments.paper_numbers.TABLE_5",
    group=GROUP,
)
def table_5_rows(setting, table=TABLE_5):
    same = {a: sum(table[m, "sl"] == TABLE_1[a, m, "sl"][0] for m in ("igr_i", "gs")) for a in ("linear", "nonlinear")}
    gain = {m: TABLE_1["nonlinear", m, "sl"][0][0] - table[m, "sl"][0] for m in ("igr_i", "gs")}
    return Outcome(
        same["nonlinear"] == 2,
        f"{same['linear']} of 2 baselines equal Linear + SL, {same['nonlinear']} Non-Linear + SL",
        (
            Measure("baselines equal to Table 1 Linear + SL, mean and deviation", same["linear"]),
            Measure("baselines equal to Table 1 Non-Linear + SL", same["nonlinear"]),
            Measure("IGR-I: nonlinear + SL of Table 1 above Table 5's row by", gain["igr_i"], "nats"),
            Measure("GS: the same", gain["gs"], "nats"),
        ),
    )


@finding(
    "landing-claim",
    title="Sticking the landing does not always help",
    where="section 4.2",
    says="all SL models outperform their non-SL counterparts",
    right="two pairs of Table 1 and one of Table 4 are worse with SL",
    why="Every pair of printed means, with and without SL, is compared.",
    equation="mean(+ SL) > mean(plain) for all pairs",
    right_code="experiments.paper_numbers",
    wrong_code="",
    group=GROUP,
)
def landing_claim(setting, tables=(TABLE_1, TABLE_4)):
    worse, pairs = [], 0
    for number, table in zip((1, 4), tables, strict=True):
        for key, plain in table.items():
            if key[-1] != "plain":
                continue
            for i, dataset in enumerate(DATASETS):
                pairs += 1
                if table[(*key[:-1], "sl")][i][0] <= plain[i][0]:
                    worse.append((number, *key[:-1], dataset))
    return Outcome(
        not worse,
        f"{len(worse)} of {pairs} printed pairs are worse with SL",
        (
            Measure("pairs", pairs),
            *(Measure("worse with SL: Table " + ", ".join(map(str, w)), 1) for w in worse),
        ),
    )


@finding(
    "omniglot-architectures",
    title="On Omniglot the nonlinear architecture is always worse",
    where="Table 1",
    says="nonlinear beats linear (not stated; so it is on MNIST and FMNIST)",
    right="all eight Omniglot pairs are worse, by up to 15 nats",
    why="A comparison of printed means. The paper does not comment on it; overfitting without held-out validation "
    "would explain it, but nothing printed decides that.",
    equation="mean(nonlinear) > mean(linear)",
    right_code="experiments.paper_numbers.TABLE_1",
    wrong_code="",
    group=GROUP,
)
def omniglot_architectures(setting, table=TABLE_1):
    change = {k[1:]: table[k][2][0] - table["linear", *k[1:]][2][0] for k in table if k[0] == "nonlinear"}
    worse = sum(v < 0 for v in change.values())
    return Outcome(
        worse == 0,
        f"{worse} of {len(change)} are worse, by {-max(change.values()):.1f} to {-min(change.values()):.1f} nats",
        (
            Measure("pairs that are worse", worse),
            Measure("pairs", len(change)),
            Measure("largest change", min(change.values()), "nats"),
            Measure("smallest change", max(change.values()), "nats"),
        ),
    )


@finding(
    "table-6",
    title="Without RELAX, IGR loses to USPGBL in Table 6",
    where="appendix D, Table 6",
    says="IGR performs best with S = 4 samples",
    right="only the IGR-I + RELAX row does, and its published estimator is not valid",
    why="The row that carries the statement comes from an estimator whose published code has a wrong sign and a "
    "wrong expectation (see the section on RELAX), if it is that code that was run. The plain IGR-I row is "
    "below USPGBL.",
    equation="",
    right_code="experiments.paper_numbers.TABLE_6",
    wrong_code="igr_ref.estimators.relax_as_published",
    group=GROUP,
)
def table_6(setting, table=TABLE_6):
    gap = table["igr_i", "plain"][0] - table["gs", "uspgbl"][0]
    sd = math.hypot(table["igr_i", "plain"][1], table["gs", "uspgbl"][1])
    return Outcome(
        gap > 0,
        f"plain IGR-I is {abs(gap):.2f} nats {'above' if gap > 0 else 'below'} USPGBL (joint deviation {sd:.2f})",
        (
            Measure("IGR-I minus USPGBL", gap, "nats"),
            Measure("IGR-I + RELAX minus USPGBL", table["igr_i", "relax"][0] - table["gs", "uspgbl"][0], "nats"),
            Measure("root of the summed squared deviations", sd, "nats"),
        ),
    )


@finding(
    "error-bars",
    title="Figure 2's error bars are neither deviations nor standard errors",
    where="Figure 2",
    says="the plot contains error bars over five runs",
    right="the code draws the standard deviation divided by 5, not by √5",
    why="For five runs the bars are smaller than a standard error and than a standard deviation by these factors.",
    equation="s/n against s/√n and s, n = 5",
    right_code="experiments.plots.figure2 (mean ± standard deviation)",
    wrong_code="s/n",
    group=GROUP,
)
def error_bars(setting, divisor=5.0):
    n = 5
    return Outcome(
        min(abs(divisor - 1), abs(divisor - math.sqrt(n))) < 1e-9,
        f"{divisor / math.sqrt(n):.2f} times smaller than a standard error, {divisor:g} times than a deviation",
        (
            Measure("standard error over drawn bar", divisor / math.sqrt(n)),
            Measure("standard deviation over drawn bar", divisor),
        ),
    )
