"""Checks of arguments, for all public functions: an error begins with the function and names argument and value.

A `TypeError` says that an argument is another kind of thing, a `ValueError` that it is of the right kind. Each check
takes the function's name ``where`` and the argument's ``name``, and returns the value as the function needs it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # lib.theory does without torch
    import torch
    from torch import Tensor

SIDE = 2**14  # the largest side of an image; one of them takes gigabytes
OPERATOR = ("n", "m", "real", "device", "A", "A_adjoint", "A_dagger", "x_update")  # see lib.operators.LinearOperator


def shown(value: Any) -> str:
    """A value as errors show it, on one line."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        if math.prod(value.shape) != 1 or getattr(value, "is_meta", False):
            return f"{type(value).__name__} of {value.dtype}, shape {tuple(value.shape)}"
        return repr(value.item())
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def integer(where: str, name: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer from ``least`` to ``most``."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be an integer, got {shown(value)}")
    value = int(value)
    if value < least or (most is not None and value > most):
        allowed = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{where}: {name} must be an integer {allowed}, got {shown(value)}")
    return value


def seed(where: str, value: Any) -> int:
    """A seed; generators of 32 bits tell no more of them apart."""
    return integer(where, "seed", value, 0, 2**32 - 1)


def number(
    where: str, name: str, value: Any, low: float, high: float = math.inf, least: bool = False, most: bool = False
) -> float:
    """A number between ``low`` and ``high``, or equal to them with ``least`` and ``most``; NaN is none."""
    try:
        number = value.item() if getattr(value, "ndim", None) == 0 else value
        if not isinstance(number, Real) or isinstance(number, bool):
            raise TypeError
        number = float(number)
    except (TypeError, RuntimeError, OverflowError):  # RuntimeError: torch's meta device
        raise TypeError(f"{where}: {name} must be a number, got {shown(value)}") from None
    if not (low < number < high or (least and number == low) or (most and number == high)):
        allowed = f"{'[' if least else '('}{low:.4g}, {high:.4g}{']' if most else ')'}"
        raise ValueError(f"{where}: {name} must lie in {allowed}, got {shown(value)}")
    return number


def one_of(where: str, name: str, value: Any, known: Sequence[str]) -> str:
    """One of the names ``known``."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{where}: {name} must be one of {', '.join(known)}, got {shown(value)}")
    return value


def function(where: str, name: str, value: Any, *arguments: str) -> Callable:
    """Something that can be called, with as many arguments as are named."""
    if not callable(value):
        raise TypeError(f"{where}: {name} must be a function, got {shown(value)}")
    if arguments:
        try:
            inspect.signature(value).bind(*arguments)
        except TypeError as error:
            raise TypeError(f"{where}: {name} must take {' and '.join(arguments)}, got {error}") from None
        except ValueError:  # a builtin does not tell
            pass
    return value


def instance(where: str, name: str, value: Any, *kinds: type) -> Any:
    """An object of one of these classes."""
    if not isinstance(value, kinds):
        raise TypeError(f"{where}: {name} must be {' or '.join(k.__name__ for k in kinds)}, got {shown(value)}")
    return value


def operator(where: str, op: Any, *more: str) -> Any:
    """A forward operator, with some ``more`` methods."""
    missing = [name for name in (*OPERATOR, *more) if not hasattr(op, name)]
    if missing:
        raise TypeError(f"{where}: op must be an operator such as MaskedFourier, got {shown(op)} without {missing[0]}")
    return op


def device(where: str, value: Any) -> torch.device:
    """A device that torch has here."""
    import torch

    try:
        return torch.empty(0, device=value).device
    except (TypeError, RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        reason = str(error).split("\n")[0]
        raise ValueError(f"{where}: device must be one that torch has here, got {shown(value)}: {reason}") from None


def array(where: str, name: str, value: Any, axes: int) -> Any:
    """A tensor or an array of numbers, not empty, with ``axes`` dimensions at least."""
    kind = str(getattr(value, "dtype", None)).removeprefix("torch.")
    if not kind.startswith(("float", "complex", "int", "uint")) or getattr(value, "is_meta", False):
        raise TypeError(f"{where}: {name} must be a tensor or an array of numbers, got {shown(value)}")
    if len(value.shape) < axes or 0 in value.shape[-axes:]:
        raise ValueError(f"{where}: {name} must have {axes} dimensions, not empty, got shape {tuple(value.shape)}")
    return value


def numbers(where: str, name: str, value: Any, kinds: str = "biufc") -> NDArray:
    """A finite array of these kinds of numbers, in NumPy's letters."""
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors on a GPU
        found = np.empty(0, object)
    if found.dtype.kind not in kinds:
        expected = {"iu": "integers", "b": "truth values", "biuf": "real numbers"}.get(kinds, "numbers")
        raise TypeError(f"{where}: {name} must hold {expected}, got {shown(value)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{where}: {name} must be finite, got NaN or infinity in it")
    return found


def tensor(
    where: str,
    name: str,
    value: Any,
    tail: Sequence[int | str],
    dtypes: Sequence[torch.dtype] = (),
    device: torch.device | None = None,
) -> Tensor:
    """A tensor whose last dimensions are ``tail``, where a name stands for any size; of one of the ``dtypes``."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{where}: {name} must be a tensor (see torch.as_tensor), got {shown(value)}")
    if value.layout != torch.strided:
        raise TypeError(f"{where}: {name} must be a dense tensor, got {value.layout}; see Tensor.to_dense")
    last = value.shape[max(0, value.ndim - len(tail)) :]
    if len(last) < len(tail) or any(a != b and not isinstance(b, str) for a, b in zip(last, tail, strict=True)):
        wanted = ", ".join(map(str, ("...", *tail)))
        raise ValueError(f"{where}: {name} must have shape ({wanted}), got {tuple(value.shape)}")
    if dtypes and value.dtype not in dtypes:
        wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{where}: {name} must have dtype {wanted}, got {value.dtype}")
    if value.is_meta or (device is not None and value.device != device):
        raise ValueError(f"{where}: {name} must be on {device or 'a device with data'}, got {value.device}; see op.to")
    return value


def broadcast(where: str, **batches: Sequence[int]) -> torch.Size:
    """The common shape of what the arguments have before their images, measurements or numbers."""
    import torch

    try:
        return torch.broadcast_shapes(*batches.values())
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(shape)}" for name, shape in batches.items())
        raise ValueError(f"{where}: {', '.join(batches)} must have batch shapes that broadcast, got {shapes}") from None


def positive(where: str, name: str, value: Any, dtype: Any = None, device: torch.device | None = None) -> Tensor:
    """Positive, finite numbers: one, or a tensor of them."""
    import torch

    try:
        found = torch.as_tensor(value, device=device)
        if isinstance(value, bool) or found.is_complex() or found.dtype == torch.bool or found.is_meta:
            raise TypeError
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TypeError(f"{where}: {name} must be a number or a tensor of numbers, got {shown(value)}") from None
    if dtype is not None:  # of the value itself: a Python float would have been rounded to single precision
        found = torch.as_tensor(value, dtype=dtype, device=device)
    if not bool(((found > 0) & torch.isfinite(found)).all()):
        raise ValueError(f"{where}: {name} must be positive and finite, got {shown(found.tolist())}")
    return found


def finite(where: str, name: str, value: Tensor) -> Tensor:
    """A tensor without NaN and infinity."""
    # the sum, a single pass, cannot miss one; if it overflows, it takes another look
    if not (bool(value.sum().isfinite()) or bool(value.isfinite().all())):
        raise ValueError(f"{where}: {name} must be finite, got NaN or infinity in it")
    return value
