"""What README says of the results, in words and numbers (`prose`), for `report --check`."""

from __future__ import annotations

from ..tables import claims
from . import Statement as S
from .parts import DEEP, LINEAR, PUBLISHED_PRIOR, SCRIPT, STROKES, above, both, lead, spread, welch_gap

README = [
    S(
        "IGR-I beats Gumbel-Softmax, by {} nats with the paper's prior and by {} with the published code's; the paper "
        "prints {}",
        lambda n: (
            n.gap("table1", f"{LINEAR} IGR-I", f"{LINEAR} GS"),
            n.gap("table1", f"{LINEAR} IGR-I", f"{LINEAR} GS{PUBLISHED_PRIOR}"),
            n.gap("table1", f"{LINEAR} IGR-I", f"{LINEAR} GS", "paper"),
        ),
    ),
    S(
        "with the published prior temperature leads in both likelihood metrics, by {} and {} nats",
        lambda n: [
            n.gap("table1_nonlinear", f"{DEEP} GS{PUBLISHED_PRIOR}", f"{DEEP} IGR-I", metric)
            for metric in ("as_published", "loglik")
        ],
    ),
    S(
        "by the discretised ELBO IGR-I leads.",
        lambda n: n.gap("table1_nonlinear", f"{DEEP} IGR-I", f"{DEEP} GS{PUBLISHED_PRIOR}", "discrete_elbo") > 0,
    ),
    S(
        "On a stand-in for Omniglot IGR-I leads Gumbel-Softmax with the published prior by {} nats under the metric "
        "of the paper's code, and is {} nats behind it in the bound that the paper describes (two seeds)",
        lambda n: [
            sign * n.gap("table1_omniglot", f"{STROKES} IGR-I", f"{STROKES} GS{PUBLISHED_PRIOR}", metric)
            for sign, metric in ((1, "as_published"), (-1, "loglik"))
        ],
    ),
    S(
        "beats the plain estimator in no pair of rows of one temperature that the seeds tell apart",
        lambda n: all(
            ", τ " in row[1]
            for row in claims.rows(n.sheets, n.results)
            if row[0] == "SL beats plain" and row[-1] == "holds"
        ),
    ),
    S(
        "IGR-I + RELAX is {} nats ahead of GS + RELAX",
        lambda n: n.gap("table5", f"{DEEP} IGR-I + RELAX", f"{DEEP} GS + RELAX", "loglik"),
    ),
    S(
        "(Table 6: {} nats ahead of USPGBL)",
        lambda n: n.gap("table6", f"{DEEP} IGR-I + RELAX", f"{DEEP} USPGBL", "discrete_elbo"),
    ),
    S(
        "helps IGR-I and Gumbel-Softmax (Table 5)",
        lambda n: all(
            n.gap("table5", f"{DEEP} {name} + RELAX", f"{DEEP} {name}{other}", "loglik")
            > welch_gap(*(n.seeds("table5", f"{DEEP} {name}{x}", "loglik") for x in (" + RELAX", other)))
            for name in ("IGR-I", "GS")
            for other in ("", " + SL")
        ),
    ),
    S(
        "in the published script's it leads IGR-I by {} nats",
        lambda n: n.gap("table2", SCRIPT + "GS", SCRIPT + "IGR-I", "loglik"),
    ),
    S(
        "In the paper's network Gumbel-Softmax did not train, so that it decides nothing",
        lambda n: (
            [
                row[-1]
                for row in claims.rows(n.sheets, n.results)
                if row[:2] == ("IGR-I beats GS", "table2: mnist nonlinear")
            ]
            == ["GS did not train"]
        ),
    ),
    S(
        "IGR-SB, the paper's best, is best in neither",
        lambda n: all(
            lead(n, "table2", where + "IGR-SB", [where + x for x in ("IGR-I", "IGR-Planar", "GS")], "loglik") < 0
            for where in (SCRIPT, f"{DEEP} ")
        ),
    ),
    S(
        "IGR-I and IGR-SB come within {} nats of the printed numbers, {} to {} nats above the bound that the paper "
        "describes; after a third of the epochs that may be partly chance (their discretised ELBOs are {} to {} "
        "nats below the paper's Table 4)",
        lambda n: [
            max(map(abs, above(n, "table1", both(("IGR-I", "IGR-SB"), LINEAR)))),
            *spread([n("table1", row) - n("table1", row, "loglik") for row in both(("IGR-I", "IGR-SB"), LINEAR)]),
            *spread(
                [n("table4", row, "paper") - n("table4", row, "train") for row in both(("IGR-I", "IGR-SB"), LINEAR)]
            ),
        ],
    ),
    S(
        "in our other runs the difference lies between {} and {} nats",
        lambda n: spread([n(*row) - n(*row, "loglik") for row in n.rows("table1", "table5", "table6")]),
    ),
]
