"""The paper's experiments: `python -m experiments --help`.

Imported before NumPy, this file asks BLAS for one thread, unless the environment says otherwise. These networks are
small: two processes of one thread beat one of two, and on a busy machine BLAS threads that wait for one another can
slow a step down tenfold. OPENBLAS_NUM_THREADS (or OMP_NUM_THREADS, MKL_NUM_THREADS) overrides it.
"""

import os

if not any(name in os.environ for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")):
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
