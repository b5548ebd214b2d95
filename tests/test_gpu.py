"""The Triton kernels of `lib._gpu` against plain torch: on a GPU, or by Triton's interpreter on a processor."""

import os

import pytest
import torch

from lib import _gpu, _kernels
from lib.tv import separable, v_update

pytest.importorskip("triton", reason="only builds of torch for CUDA bring Triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
pytestmark = pytest.mark.skipif(
    not (INTERPRETED or torch.cuda.is_available()), reason="takes a GPU, or Triton's interpreter: TRITON_INTERPRET=1"
)


@pytest.fixture
def drawn(request):
    """x, v, weights of their shapes, and t, rho, ratio."""
    dtype, b, n = request.param
    draw = torch.Generator(DEVICE).manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, dtype=dtype, device=DEVICE, generator=draw)

    x, v, w_b, w_v = normal(b, n, n), normal(b, 2, n, n), normal(b, n, n), normal(b, 2, n, n)
    return x, v, w_v, w_b, torch.rand(3, b, dtype=x.real.dtype, device=DEVICE, generator=draw).unbind()


@pytest.mark.parametrize("drawn", [(torch.float32, 3, 16), (torch.complex64, 2, 12)], ids=str, indirect=True)
@pytest.mark.parametrize("relaxation", [1.0, 1.9])
@pytest.mark.parametrize(("of_v", "of_b"), [(True, True), (True, False), (False, True)])
def test_update_and_derivative_are_those_of_plain_torch(monkeypatch, drawn, relaxation, of_v, of_b):
    monkeypatch.setattr(_kernels, "numba", None)  # so that v_update is plain torch
    x, v, w_v, w_b, (t, rho, ratio) = drawn
    x.requires_grad_()
    v.requires_grad_()
    results = []
    for update in (_gpu.VUpdate.apply, lambda x, v, t, rho, alpha: v_update(x, v, t, rho, separable, alpha)):
        new, b = update(x, v, t, rho, relaxation)
        loss = (w_v.conj() * new).real.sum() if of_v else 0
        loss = loss + (w_b.conj() * b).real.sum() if of_b else loss
        results.append((new, b, *torch.autograd.grad(loss, (x, v))))
    with torch.no_grad():
        results[0] += _gpu.v_update(x, v, t, rho, relaxation, ratio)
        results[1] += v_update(x, v, t, rho, separable, relaxation, ratio)
    for found, expected in zip(*results, strict=True):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
