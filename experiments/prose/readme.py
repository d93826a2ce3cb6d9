"""What README says of the results, in words and numbers (`prose`), for `report --check`."""

from __future__ import annotations

from . import Statement as S
from .parts import DEEP, LINEAR, SCRIPT, above, both, lead, spread, welch_gap

README = [
    S(
        "with the published prior temperature leads in both likelihood metrics, by {} and {} nats (two seeds)",
        lambda n: [
            n.gap("table1_nonlinear", f"{DEEP} GS (prior τ 0.5)", f"{DEEP} IGR-I", metric)
            for metric in ("as_published", "loglik")
        ],
    ),
    S(
        "IGR-I + RELAX is {} nats ahead of GS + RELAX",
        lambda n: n.gap("table5", f"{DEEP} IGR-I + RELAX", f"{DEEP} GS + RELAX", "loglik"),
    ),
    S(
        "(Table 6, after 10: {} nats ahead of USPGBL)",
        lambda n: n.gap("table6", f"{DEEP} IGR-I + RELAX", f"{DEEP} USPGBL", "discrete_elbo"),
    ),
    S(
        "RELAX helps IGR-I and Gumbel-Softmax (Table 5)",
        lambda n: all(
            n.gap("table5", f"{DEEP} {name} + RELAX", f"{DEEP} {name}{other}", "loglik")
            > welch_gap(*(n.seeds("table5", f"{DEEP} {name}{x}", "loglik") for x in (" + RELAX", other)))
            for name in ("IGR-I", "GS")
            for other in ("", " + SL")
        ),
    ),
    S(
        "IGR-I beats Gumbel-Softmax in one of the two networks, and IGR-SB, the paper's best, is best in neither",
        lambda n: (
            sum(n.gap("table2", where + "IGR-I", where + "GS", "loglik") > 0 for where in (SCRIPT, f"{DEEP} ")) == 1
            and all(
                lead(n, "table2", where + "IGR-SB", [where + x for x in ("IGR-I", "IGR-Planar", "GS")], "loglik") < 0
                for where in (SCRIPT, f"{DEEP} ")
            )
        ),
    ),
    S(
        "and IGR-SB come within {} nats of the printed numbers, {} to {} nats above the bound that the paper "
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
