"""Chemistry, weather, geodesy and smooth rounding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, integers, normal, uniform, wide

from ._tools import like

# -- activity of ions -------------------------------------------------------------------------------


def _ionic(c: Tensor, z: Tensor, a: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z2 = (z * z).to(c.dtype)
    strength = (c * z2).sum(-1, keepdim=True) / 2
    root = strength.sqrt()
    gamma = torch.exp(-math.log(10) * a * z2 * (root / (1 + root) - 0.3 * strength))
    return z2, strength, root, gamma


def davies_forward(conc: Tensor, charges: Tensor, a: float = 0.509) -> tuple[Tensor, Any]:
    """Activities of ions by the Davies equation; NaN for a negative ionic strength."""
    c = wide(conc)
    *_, gamma = _ionic(c, charges, a)
    return (c * gamma).to(conc.dtype), (conc, charges, a)


def _davies_backward(grad: Tensor, res: Any, ln10: float) -> tuple[Any, ...]:
    conc, charges, a = res
    c, g = wide(conc), wide(grad)
    z2, strength, root, gamma = _ionic(c, charges, a)
    # without ions the slope is infinite, but then every charged concentration is nought
    steep = torch.where(strength > 0, 0.5 / (root * (1 + root) ** 2), 0.0)
    inner = (g * c * gamma * z2).sum(-1, keepdim=True)
    gc = g * gamma - ln10 * a * (steep - 0.3) * inner * z2 / 2
    return gc.to(conc.dtype), None, None


def davies_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _davies_backward(grad, res, math.log(10))


def davies_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _davies_backward(grad, res, 2.303)


def davies_reference(conc: Tensor, charges: Tensor, a: float = 0.509) -> Tensor:
    z2 = charges.to(conc.dtype).square()
    strength = 0.5 * (conc @ z2)[..., None]
    root = torch.where(strength == 0, strength * 0, torch.where(strength == 0, 1.0, strength).sqrt())
    return conc * torch.pow(10.0, -a * z2 * (root / (1 + root) - 0.3 * strength))


def _davies_inputs(rows: int, ions: int, low: float = 0.01) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        charges = integers(g, ions, low=-2, high=4)
        charges[:1] = 2
        return uniform(g, dtype, rows, ions, low=low, high=0.4), charges, 0.509

    return make


def _davies_neutral(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 3, 4, high=0.4), torch.zeros(4, dtype=torch.long), 0.5


def _davies_pure(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """A row of nothing but water beside usual ones."""
    c = uniform(g, dtype, 3, 4, high=0.4, grad=False)
    c[1] = 0
    return c.requires_grad_(), torch.tensor([1, -1, 2, 0]), 0.509


DAVIES = Operation(
    "davies_activity",
    davies_forward,
    davies_backward,
    _davies_inputs(4, 5),
    davies_reference,
    (
        Mistake(
            "scale",
            "ln 10 rounded to the 2.303 of the textbooks in the derivative of the coefficient",
            davies_wrong,
            also=("unknown", "missing-factor", "missing-term"),
            argument="conc",
        ),
    ),
    {"neutral": _davies_neutral, "pure water": _davies_pure, "one ion": _davies_inputs(3, 1)},
    DTYPES,
)


# -- vapour pressure --------------------------------------------------------------------------------

WATER, ICE = (17.62, 243.12), (22.46, 272.62)


def _magnus(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    warm = t >= 0
    a, b = (torch.where(warm, torch.full_like(t, x), y) for x, y in zip(WATER, ICE, strict=True))
    inside = b + t
    e = 6.112 * torch.exp(a * t / inside)
    return a, b, torch.where(inside > 0, e, torch.nan)


def vapour_forward(temp: Tensor, humidity: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
    """Saturation pressure (over ice below 0 degrees, hPa) and deficit at a humidity in per cent."""
    t, h = wide((temp, humidity))
    e = _magnus(t)[2]
    return (e.to(temp.dtype), (e * (1 - h / 100)).to(temp.dtype)), (temp, humidity)


def vapour_backward(grads: tuple[Tensor, Tensor], res: Any) -> tuple[Any, ...]:
    temp, humidity = res
    t, h = wide((temp, humidity))
    gs, gd = wide(tuple(grads))
    a, b, e = _magnus(t)
    ge = gs + (gd * (1 - h / 100)).sum_to_size(t.shape)
    gt = ge * e * a * b / (b + t) ** 2
    return like(gt, temp), like(-gd * e / 100, humidity)


def vapour_wrong(grads: tuple[Tensor, Tensor], res: Any) -> tuple[Any, ...]:
    temp, humidity = res
    t, h = wide((temp, humidity))
    gs, gd = wide(tuple(grads))
    e = _magnus(t)[2]
    a, b = WATER
    ge = gs + (gd * (1 - h / 100)).sum_to_size(t.shape)
    gt = ge * e * a * b / (b + t) ** 2
    return like(gt, temp), like(-gd * e / 100, humidity)


def vapour_reference(temp: Tensor, humidity: Tensor) -> tuple[Tensor, Tensor]:
    over_ice = 6.112 * torch.exp(22.46 * temp / (272.62 + temp))
    water = 6.112 * torch.exp(17.62 * temp.clamp(min=0) / (243.12 + temp.clamp(min=0)))
    e = torch.where(temp >= 0, water, over_ice)
    e = torch.where(temp > -272.62, e, torch.nan)
    return e, e - e * humidity / 100


def _vapour_inputs(low: float, high: float, *shape: int, each: bool = True) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        humid = uniform(g, dtype, *(shape if each else shape[-1:]), low=5.0, high=100.0)
        return uniform(g, dtype, *shape, low=low, high=high), humid

    return make


def vapour_winter(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return _vapour_inputs(-30.0, 30.0, 5, 6)(g, dtype)


def _vapour_freezing(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    t = torch.tensor([[0.0, -5.0, 20.0], [3.0, 0.0, -40.0]], dtype=dtype).requires_grad_()
    return t, uniform(g, dtype, 1, 3, low=5.0, high=110.0)


VAPOUR = Operation(
    "vapour_pressure_deficit",
    vapour_forward,
    vapour_backward,
    _vapour_inputs(1.0, 38.0, 5, 6),
    vapour_reference,
    (
        Mistake(
            "region",
            "the constants for water used below freezing, too",
            vapour_wrong,
            also=("scale", "local", "missing-factor"),
            argument="temp",
            hidden=_vapour_inputs(1.0, 38.0, 5, 6),
        ),
    ),
    {
        "winter": vapour_winter,
        "freezing": _vapour_freezing,
        "shared humidity": _vapour_inputs(-20.0, 30.0, 4, 3, each=False),
        "empty": _vapour_inputs(0.0, 1.0, 0, 3),
    },
    DTYPES,
)


# -- geodetic coordinates ---------------------------------------------------------------------------

AXIS = 6378.137  # kilometres


def _ellipsoid(flat: float) -> float:
    if not 0 <= flat < 1:
        raise ValueError("the flattening lies in [0, 1)")
    return flat * (2 - flat)


def ecef_forward(
    lat: Tensor, lon: Tensor, height: Tensor, flat: float = 1 / 298.257223563
) -> tuple[tuple[Tensor, Tensor, Tensor], Any]:
    """Latitude, longitude (radians) and height (km) above an ellipsoid to x, y, z (km)."""
    e2 = _ellipsoid(flat)
    a, b, h = torch.broadcast_tensors(lat, lon, height)
    n = AXIS / torch.sqrt(1 - e2 * a.sin() ** 2)
    x = (n + h) * a.cos() * b.cos()
    y = (n + h) * a.cos() * b.sin()
    z = (n * (1 - e2) + h) * a.sin()
    return (x, y, z), (lat, lon, height, e2)


def _ecef_backward(grads: tuple[Tensor, Tensor, Tensor], res: Any, wrong: bool) -> tuple[Any, ...]:
    lat, lon, height, e2 = res
    gx, gy, gz = grads
    w = 1 - e2 * lat.sin() ** 2
    n = AXIS / torch.sqrt(w)
    dn = torch.zeros_like(n) if wrong else n * e2 * lat.sin() * lat.cos() / w
    across = gx * lon.cos() + gy * lon.sin()
    g_lat = across * (dn * lat.cos() - (n + height) * lat.sin())
    g_lat = g_lat + gz * (dn * (1 - e2) * lat.sin() + (n * (1 - e2) + height) * lat.cos())
    g_lon = (gy * lon.cos() - gx * lon.sin()) * (n + height) * lat.cos()
    g_height = across * lat.cos() + gz * lat.sin()
    return like(g_lat, lat), like(g_lon, lon), like(g_height, height), None


def ecef_backward(grads: tuple[Tensor, Tensor, Tensor], res: Any) -> tuple[Any, ...]:
    return _ecef_backward(grads, res, False)


def ecef_wrong(grads: tuple[Tensor, Tensor, Tensor], res: Any) -> tuple[Any, ...]:
    return _ecef_backward(grads, res, True)


def ecef_reference(
    lat: Tensor, lon: Tensor, height: Tensor, flat: float = 1 / 298.257223563
) -> tuple[Tensor, Tensor, Tensor]:
    lat, lon, height = torch.broadcast_tensors(lat, lon, height)
    e2 = flat * (2 - flat)
    n = AXIS * torch.rsqrt(1 - e2 * lat.sin().square())
    flat_radius = (n + height) * lat.cos()
    return flat_radius * lon.cos(), flat_radius * lon.sin(), ((1 - e2) * n + height) * lat.sin()


def _ecef_inputs(lat: Any, lon: Any, height: Any, flat: float = 1 / 298.257223563) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        a = uniform(g, dtype, *lat, low=-1.5, high=1.5)
        b = uniform(g, dtype, *lon, low=-3.1, high=3.1)
        return a, b, uniform(g, dtype, *height, low=-0.1, high=20.0), flat

    return make


def _ecef_poles(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    lat = torch.tensor([math.pi / 2, -math.pi / 2, 0.0, 0.0], dtype=dtype).requires_grad_()
    return lat, torch.zeros(4, dtype=dtype).requires_grad_(), normal(g, dtype, 4), 1 / 298.257223563


ECEF = Operation(
    "geodetic_to_ecef",
    ecef_forward,
    ecef_backward,
    _ecef_inputs((4, 5), (4, 5), (4, 5)),
    ecef_reference,
    (
        Mistake(
            "missing-term",
            "the radius of curvature taken for a constant when differentiating by the latitude",
            ecef_wrong,
            also=("scale", "unknown"),
            argument="lat",
        ),
    ),
    {
        "grid": _ecef_inputs((4, 1), (5,), ()),
        "poles": _ecef_poles,
        "sphere and flat disc": _ecef_inputs((3, 1), (1, 2), (3, 2), 0.5),
        "empty": _ecef_inputs((0,), (0,), (0,)),
    },
    ("float64", "float32"),
)


# -- smooth rounding --------------------------------------------------------------------------------


def round_forward(x: Tensor, alpha: Tensor) -> tuple[Tensor, Any]:
    """Rounding made smooth: the identity as alpha falls to 0, to the nearest whole as it grows."""
    w, a = wide((x, alpha))
    mid = w.floor() + 0.5
    out = mid + torch.tanh(a * (w - mid)) / (2 * torch.tanh(a / 2))
    return out.to(x.dtype), (x, alpha)


def _round_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    x, alpha = res
    w, a = wide((x, alpha))
    g = wide(grad)
    r = w - (w.trunc() if wrong else w.floor()) - 0.5
    half = torch.tanh(a / 2)
    slope = 1 / torch.cosh(a * r) ** 2
    dx = a * slope / (2 * half)
    da = (r * slope - torch.tanh(a * r) * 0.5 / torch.cosh(a / 2) ** 2 / half) / (2 * half)
    r2 = r * r
    series = r * a * ((1 - 4 * r2) / 6 + 4 * a * a * (2 * r2 * r2 / 15 - r2 / 36 - 1 / 720))
    da = torch.where(a.abs() < 0.02, series, da)
    return like(g * dx, x), like(g * da, alpha)


def round_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _round_backward(grad, res, False)


def round_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _round_backward(grad, res, True)


def round_reference(x: Tensor, alpha: Tensor) -> Tensor:
    whole = torch.floor(x.detach())
    r = x - whole - 0.5
    return whole + 0.5 * (1 + torch.tanh(alpha * r) / torch.tanh(0.5 * alpha))


def _round_inputs(*shape: int, low: float = 1.0, high: float = 6.0) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        x = uniform(g, dtype, *shape, low=-4.0, high=4.0)
        return x, uniform(g, dtype, shape[-1], low=low, high=high)

    return make


def _round_wholes(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    x = (torch.arange(-6, 6).reshape(3, 4) / 2).to(dtype)
    return x.requires_grad_(), uniform(g, dtype, 3, 1, low=1.0, high=5.0)


ROUND = Operation(
    "soft_round",
    round_forward,
    round_backward,
    _round_inputs(5, 6),
    round_reference,
    (
        Mistake(
            "region",
            "the fractional part taken by trunc instead of floor, so that negative numbers go wrong",
            round_wrong,
            also=("scale", "local", "missing-factor"),
            argument="x",
        ),
    ),
    {
        "wholes and halves": _round_wholes,
        "steep": _round_inputs(3, 4, low=20.0, high=40.0),
        "one column": _round_inputs(4, 1),
        "empty": _round_inputs(0, 3),
    },
    DTYPES,
)

OPERATIONS = (DAVIES, VAPOUR, ECEF, ROUND)
