"""A ComfyUI node: copy or link this folder into ComfyUI's `custom_nodes` (docs/ui.md)."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


class LipsyncDub:
    """The person in a video says a recording. Writes the dub and its receipt into ComfyUI's output folder."""

    CATEGORY = "video/lipsync"
    FUNCTION = "dub"
    RETURN_TYPES = ("VIDEO", "STRING")
    RETURN_NAMES = ("video", "receipt")
    OUTPUT_NODE = True
    DESCRIPTION = "The person in the video says the recording (lipsync). Have the consent of everybody shown and heard."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from lipsync.config.schema import texture_names

        return {
            "required": {
                "target": ("VIDEO", {"tooltip": "A video of the person, talking."}),
                "speech": ("AUDIO", {"tooltip": "What the person shall say."}),
                "consent": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Everybody shown and heard has agreed; I tell viewers it is a dub."},
                ),
            },
            "optional": {
                "agreed": ("STRING", {"default": "", "tooltip": "Who agreed: recorded in the receipt."}),
                "texture": (list(texture_names()), {"default": "median"}),
                "face": ("INT", {"default": -1, "min": -1, "max": 99, "tooltip": "Which face; -1 = the main one."}),
                "preview_s": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 3600.0, "tooltip": "0 = all of it."}),
                "filename_prefix": ("STRING", {"default": "video/lipsync"}),
            },
        }

    def dub(
        self,
        target: Any,
        speech: dict[str, Any],
        consent: bool,
        agreed: str = "",
        texture: str = "median",
        face: int = -1,
        preview_s: float = 0.0,
        filename_prefix: str = "video/lipsync",
    ) -> dict[str, Any]:
        """ComfyUI's answer: the video and the receipt's JSON. target: ComfyUI's VideoInput; speech: its waveform
        (1,C,T) float, full scale 1, and sample_rate. Raises as `lipsync.dub` does."""
        import folder_paths
        from comfy_api.input_impl import VideoFromFile

        from lipsync import dub
        from lipsync.config.load import from_plain

        if not consent:
            raise ValueError("Switch consent on: a dub needs the consent of everybody who is shown and heard.")
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        out = Path(folder) / f"{name}_{counter:05}_.mp4"
        said = f"stated in ComfyUI: {agreed.strip() or 'everybody who is shown and heard'}"
        config = from_plain({"texture": texture, "face": {"index": face}, "mark": {"consent": said}})
        with TemporaryDirectory(prefix="lipsync-") as work:
            film = _film_of(target, Path(work))
            sound = _sound_of(speech, Path(work) / "speech.wav")
            made = dub(film, sound, out, config, preview_s=preview_s or None, hook=_hook())
        receipt = Path(f"{out}.json").read_text(encoding="utf-8")
        shown = {"filename": out.name, "subfolder": subfolder, "type": "output"}
        return {
            "ui": {"images": [shown], "animated": (True,), "text": made.summary()},
            "result": (VideoFromFile(str(out)), receipt),
        }


def _film_of(video: Any, folder: Path) -> Path:
    """The file of a video; what ComfyUI holds in memory is written into `folder`."""
    source = video.get_stream_source()
    if isinstance(source, BytesIO):
        path = folder / "target.mp4"
        path.write_bytes(source.getbuffer())
        return path
    return Path(source)


def _sound_of(audio: dict[str, Any], path: Path) -> Path:
    """The first recording of a batch as a WAV file of 16 bits."""
    samples = (audio["waveform"][0].float().clamp(-1, 1) * 32767).round().short().cpu()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(int(audio["sample_rate"]))
        file.writeframes(samples.t().contiguous().numpy().astype("<i2").tobytes())
    return path


def _hook() -> Any:
    """Shows progress in ComfyUI, and stops where it was asked to."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bars: dict[str, Any] = {}

    def hook(step: str, done: int, total: int) -> None:
        throw_exception_if_processing_interrupted()
        if total:
            bars.setdefault(step, ProgressBar(total)).update_absolute(done, total)

    return hook


NODE_CLASS_MAPPINGS = {"LipsyncDub": LipsyncDub}
NODE_DISPLAY_NAME_MAPPINGS = {"LipsyncDub": "Lipsync: dub a video"}
