"""A rendered person who does not exist, with the exact lips, pose and clock of every frame."""

from .clip import Truth, render_clip
from .render import FrameTruth, Presenter
from .speech import CHANNELS, REST, Speech, load_phones

__all__ = ["CHANNELS", "REST", "FrameTruth", "Presenter", "Speech", "Truth", "load_phones", "render_clip"]
