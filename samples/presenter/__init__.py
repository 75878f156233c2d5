"""A rendered person who does not exist, with the exact lips, pose and clock of every frame."""

from samples.presenter.clip import Truth, render_clip
from samples.presenter.render import FrameTruth, Presenter
from samples.presenter.speech import CHANNELS, REST, Speech, load_phones

__all__ = ["CHANNELS", "REST", "FrameTruth", "Presenter", "Speech", "Truth", "load_phones", "render_clip"]
