"""Computational graphs, drawn: values above and gradients below each edge; and the trace in words."""

from handgrad.drawing._svg import to_svg as to_svg
from handgrad.drawing._terminal import to_terminal as to_terminal
from handgrad.drawing._trace import trace as trace
