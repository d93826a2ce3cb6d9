"""What stands below a table: what its columns are, and what its data sets stand in for."""

from __future__ import annotations

WRONG_SIGN = (
    "IGR-I + RELAX: the published code's loss has the wrong sign before its KL, so its printed number is compared with",
    "none of ours.",
)
TABLES = {
    "table5": (
        "The paper's rows with SL are its linear network's, and are compared with none of ours; GS + RELAX is a",
        "one-sample bound, so the difference is to our discretised ELBO.",
        *WRONG_SIGN,
    ),
    "table6": WRONG_SIGN,
    "table2": (
        "Bound on log p(lower half | upper half) with m samples of the binary units: the published code's metric too.",
        "The published script runs the architecture double_linear; appendix E describes nonlinear.",
        "IGR-SB: ours keeps the remainder of the stick. Without it a unit has one category only, and the published",
        "code's binary network is the same for every input (--models igr_sb_as_published): its printed number is of",
        "something else.",
    ),
    "table3": (
        "ours, as published: minus the published training loss at one draw, which is what the paper's code reports;",
        "the difference is to that. ours, correct bound: importance weighted with m draws, components summed out; all",
        "19 sticks of IGR-SB-MM, those that its cut leaves untrained at the prior's law.",
    ),
}


def is_stand_in(result):
    """Whether the data set of a result stands in for one of the paper's."""
    return "stand-in" in result.get("dataset", {}).get("note", "")


def stand_ins(cells, options, results):
    """A line for each data set that stands in for another, from the results' own notes, or is not as the paper's."""
    lines = {}
    if any(cell.dataset == "omniglot" for cell in cells):
        lines["omniglot"] = "omniglot: thresholded here, grey in the paper's runs: its numbers are of other data"
    for cell in cells:
        for config in cell.final(options, results) or []:
            if config.id in results and is_stand_in(results[config.id]):
                lines[cell.data] = f"{cell.data}: {results[config.id]['dataset']['note']}"
    return list(lines.values())
