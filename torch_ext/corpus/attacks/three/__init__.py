"""Twenty-two hand-written backward passes from many fields, each with planted mistakes."""

from . import audio, finance, language, physics, robotics, statistics, vision

OPERATIONS = (
    *vision.OPERATIONS,
    *audio.OPERATIONS,
    *language.OPERATIONS,
    *physics.OPERATIONS,
    *finance.OPERATIONS,
    *robotics.OPERATIONS,
    *statistics.OPERATIONS,
)
