"""What figures/REPRODUCTION.md says of the results, in words and numbers, for `report --check`."""

from __future__ import annotations

import numpy
import scipy.stats

from ..store import read_json
from ..tables import FIGURES, claims
from ..tables.welch import LEVEL
from . import Statement as S
from .mnist import DEEP_TABLES, LINEAR_TABLES
from .other_images import FASHION, FASHION_DEEP, OMNIGLOT
from .other_tables import MIXTURES, RELAX, STRUCTURED
from .parts import IGR

BENCHMARK = FIGURES / "benchmark.json"


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


def ranges(n, models):
    """[max - min over the seeds of each row of some models], in every test metric of Tables 1, 5 and 6."""
    rows = [row for row in n.rows("table1", "table5", "table6") if row[1].split()[2] in models]
    seeds = [n.seeds(*row, metric) for row in rows for metric in ("as_published", "loglik", "discrete_elbo")]
    return [numpy.ptp(values) for values in seeds if len(values) > 1]


def longer(architecture):
    """[per cent that a step of IGR-I, IGR-SB and IGR-Planar takes longer than Gumbel-Softmax's] in the benchmark."""
    steps = [step for step in read_json(BENCHMARK)["steps"] if step["architecture"] == architecture]
    own = {step["model"]: step["times"]["ours"]["ms"] for step in steps}
    return [100 * (own[model] / own["gs"] - 1) for model in ("igr_i", "igr_sb", "igr_planar")]


def tested(rows):
    """[how many of the claims are tested, how many there are, how many true ties would be called]."""
    several = sum("one seed" not in row[-1] for row in rows)
    return [several, len(rows), LEVEL * several]


CLAIMS = [
    S(
        "{} of the {} rows have them. Each is tested by itself, so that some {} would be called by chance",
        lambda n: tested(claims.rows(n.sheets, n.results)),
    ),
    S(
        "seeds of one row lie up to {} (IGR) and {} nats (Gumbel-Softmax) apart",
        lambda n: [max(ranges(n, IGR)), max(ranges(n, ("GS",)))],
    ),
    S(
        "takes {} % longer with IGR-I, {} % with IGR-SB and {} % with IGR-Planar than with Gumbel-Softmax in the "
        "linear network; {}, {} and {} % in the nonlinear one",
        lambda n: [*longer("linear"), *longer("nonlinear")],
    ),
]  # fmt: skip
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
    *CLAIMS,
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
