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
    wide = {"flags": AVX_512, "halves": False}
    assert "OPENBLAS_CORETYPE=SkylakeX" in blas.advice("Haswell", wide)
    assert blas.advice("SkylakeX", wide) is None
    assert blas.advice("Haswell", {"flags": ("avx2", "avx512f"), "halves": False}) is None
    assert blas.advice(None, wide) is None


def test_advice_is_the_other_way_round_where_512_bits_take_two_halves():
    """Zen 4: 105 against 95 GFLOP/s on the products of a training step."""
    zen_4 = {"flags": AVX_512, "halves": True}
    assert "OPENBLAS_CORETYPE=Haswell" in blas.advice("SkylakeX", zen_4)
    assert blas.advice("Haswell", zen_4) is None and blas.advice(None, zen_4) is None


@pytest.mark.parametrize(("vendor", "family", "halves"), [("AuthenticAMD", 25, True), ("AuthenticAMD", 26, False),
                                                          ("GenuineIntel", 6, False)])  # fmt: skip
def test_the_cpu_is_read_from_linux(monkeypatch, vendor, family, halves):
    text = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu avx2 avx512f\n\n"
    monkeypatch.setattr(blas.Path, "read_text", lambda self, *args, **kwargs: text + text.replace("fpu", "other"))
    assert blas.cpu() == {"flags": ("fpu", "avx2", "avx512f"), "halves": halves}


def test_there_is_a_choice_where_the_cpu_has_avx_512(monkeypatch):
    monkeypatch.setattr(blas, "kernels", lambda: "Haswell")
    monkeypatch.setattr(blas, "cpu", lambda: {"flags": AVX_512, "halves": True})
    assert blas.choices() == ("Haswell", "SkylakeX")
    monkeypatch.setattr(blas, "cpu", lambda: {"flags": ("avx2",), "halves": False})
    assert blas.choices() == ()
    monkeypatch.setattr(blas, "cpu", lambda: {"flags": AVX_512, "halves": False})
    monkeypatch.setattr(blas, "kernels", lambda: None)
    assert blas.choices() == ()


def test_a_system_without_cpuinfo_has_no_flags(monkeypatch):
    def missing(self, *args, **kwargs):
        raise FileNotFoundError(self)

    monkeypatch.setattr(blas.Path, "read_text", missing)
    assert blas.cpu() == {"flags": (), "halves": False}


@pytest.mark.skipif(blas.kernels() is None or "avx2" not in blas.cpu()["flags"], reason="OpenBLAS on a CPU with AVX2")
def test_the_kernels_are_those_that_were_asked_for():
    code = "import numpy; from experiments import blas; print(blas.kernels())"
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Haswell"
