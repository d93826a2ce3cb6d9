"""What OpenBLAS says of itself, and when there is advice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import blas

AVX_512 = ("avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl")


def test_advice_is_for_avx2_kernels_on_a_cpu_with_avx_512():
    assert "OPENBLAS_CORETYPE=SkylakeX" in blas.advice("Haswell", AVX_512)
    assert blas.advice("SkylakeX", AVX_512) is None
    assert blas.advice("Haswell", ("avx2", "avx512f")) is None
    assert blas.advice(None, AVX_512) is None


@pytest.mark.skipif(blas.kernels() is None or "avx2" not in blas.cpu_flags(), reason="OpenBLAS on a CPU with AVX2")
def test_the_kernels_are_those_that_were_asked_for():
    code = "import numpy; from experiments import blas; print(blas.kernels())"
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Haswell"
