"""Recurrent layers."""

from __future__ import annotations

from torch_ext.sweep.own._draw import Functions, Modules

FUNCTIONS: Functions = {}
MODULES: Modules = {}
