"""A GPU that is none: its tensors are on the CPU, and an operation that mixes both is an error."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakTensorKeyDictionary

from lib import _gpu, _kernels, attack, tv

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
MAY_MIX = {Tensor.__getitem__, Tensor.__setitem__}  # an index may be on the CPU
MAKE = "arange as_tensor empty from_numpy full linspace ones rand randint randn randperm tensor zeros".split()
MAKE_LIKE = "as_tensor empty_like full_like new_empty new_zeros ones_like randn_like zeros_like".split()


class PretendedGPU(TorchFunctionMode):
    """Within it ``device="cuda"`` works. It knows where the tensors are that Python has made or moved."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.place = WeakTensorKeyDictionary()  # a tensor that is not in it goes with both: autograd has made it
        self.mixed = []
        generator = torch.Generator
        made = type("Generator", (), {"__new__": lambda cls, device="cpu": generator()})
        monkeypatch.setattr(torch, "Generator", made)
        monkeypatch.setattr(_kernels, "numba", None)
        monkeypatch.setattr(_gpu, "triton", None)
        for function in (tv._Adjoint, tv._XUpdate, attack._Projection):  # autograd calls them without the mode
            monkeypatch.setattr(function, "backward", staticmethod(self.within(function.backward)))

    def within(self, backward):
        def wrapped(*arguments):
            with torch._C._EnableTorchFunction(), self:
                return backward(*arguments)

        return wrapped

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        with torch._C.DisableTorchFunction():
            tensors = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
            known = {self.place.get(a) for a in tensors if a.ndim} - {None}
            if func == Tensor.device.__get__:
                return self.place.get(args[0], GPU)
            if func == Tensor.is_cuda.__get__:
                return self.place.get(args[0], GPU) == GPU
            device = kwargs.pop("device", CPU if name in ("cpu", "numpy") or (name in MAKE and not tensors) else None)
            if func is Tensor.to:
                places = [a for a in args if isinstance(a, torch.device | str)]
                device = places[0] if places else device
                args = (args[0], *(a for a in args[1:] if not isinstance(a, torch.device | str | bool | None)))
                out = func(*args, **kwargs) if len(args) > 1 or kwargs else args[0]
            else:
                if len(known) > 1 and device is None and func not in MAY_MIX and name != "copy_":
                    self.mixed.append(f"{name} of {[tuple(a.shape) for a in tensors]}")
                if name == "numpy" and GPU in known:
                    self.mixed.append("numpy of a tensor on the GPU")
                out = func(*args, **kwargs)
            if isinstance(out, Tensor) and device is not None and any(out is a for a in tensors):
                out = out.clone()  # it stays where it is, and is in another place, too
            where = (GPU if GPU in known else next(iter(known), None)) if device is None else torch.device(device)
            for a in tree_flatten(out)[0]:
                if isinstance(a, Tensor) and where is not None:
                    self.place[a] = GPU if where.type == "cuda" else CPU
            return out
