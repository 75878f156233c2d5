"""The page: what a visitor sees and does. Drawn by Gradio; what lasts lies in the queue, not in the page."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.installation import HOME
from lipsync.core.text import counted, format_duration, percent
from lipsync.ui.jobs import Job, Queue, Workplace
from lipsync.ui.requests import CONSENT, PREVIEW_S, Wanted, dub_job, look_job, preset_label, told
from lipsync.ui.speak import speak, voices

if TYPE_CHECKING:
    from gradio import Blocks  # pyright: ignore[reportMissingImports]

SAMPLE = HOME / "samples" / "target.mp4", HOME / "samples" / "speech.wav"
_STEPS = {
    "hash": "reading the files",
    "faces": "finding the face",
    "people": "telling people apart",
    "mouths": "collecting mouths",
    "teeth": "choosing teeth",
    "lips": "learning the lips",
    "dub": "drawing",
    "view": "laying it beside the original",
}
_STATES = {"done": "finished", "failed": "failed", "cancelled": "cancelled"}
_NOTE = """A dub puts words into a person's mouth. Do not deceive, harass, or imitate someone who has not agreed; in
many places that is against the law. The result says in its metadata that it was edited by AI."""
_KEPT = """Everything stays on the computer that runs this page. Uploads and results are removed when you remove a job,
and all of them when `lipsync ui` ends; what was learnt about a face is kept for the next dub until
`lipsync cache clear`."""
_FILM = '<div class="film"></div>'
_JOBS = '<ul class="jobs" aria-label="Your dubs"></ul>'
_RESULT = '<div class="result"></div>'
_SAID = '<div class="said" role="alert">${value}</div>'


@dataclass(frozen=True, slots=True)
class Desk:
    """What the page's handlers share. presets: files by name."""

    queue: Queue
    place: Workplace
    presets: Mapping[str, Path]

    def look(self, target: Path, owner: str) -> Job:
        """Starts to find out who is in a film. LipsyncError: it cannot be kept, or too much waits."""
        folder = self.place.new_folder()
        return self.queue.add(look_job(target, folder, owner))

    def dub(self, wanted: Wanted, owner: str, after: Job | None = None) -> Job:
        """Queues a dub, behind the look at the same film. UsageError, LipsyncError: not like this."""
        folder = self.place.new_folder()
        try:
            job = dub_job(wanted, self.presets, folder, owner)
        except BaseException:
            _remove(folder)
            raise
        job.after = after
        return self.queue.add(job)


def build_page(desk: Desk) -> Blocks:
    """The page, ready to be served."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    code = {name: _file(f"{name}.js") for name in ("film", "jobs", "result")}
    labels = [(preset_label(name, path), name) for name, path in desk.presets.items()]
    synthesisers = voices()
    with gr.Blocks(title="lipsync", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        visitor = gr.BrowserState("", storage_key="lipsync-visitor", secret="lipsync")  # noqa: S106 (hides nothing)
        tab = gr.State({})
        gr.Markdown("# lipsync\nThe person in your video says a new recording. " + _KEPT)
        with gr.Row():
            with gr.Column(min_width=300):
                target = gr.File(label="1. Target: a video of the person, talking", height=170, elem_id="target")
            with gr.Column(min_width=300), gr.Tabs():
                with gr.Tab("Sound file") as by_file:
                    speech = gr.File(label="2. Speech: what the person shall say", height=170, elem_id="speech")
                with gr.Tab("Record") as by_microphone:
                    recording = gr.Audio(label="2. Speech: record it", sources=["microphone"], type="filepath")
                with gr.Tab("Type", visible=bool(synthesisers)) as by_text:
                    text = gr.Textbox(label="2. Speech: type it", lines=3, max_length=5000)
                    voice = gr.Dropdown(list(synthesisers), label="Voice", value=next(iter(synthesisers), None))
        sample = gr.Button("Try the sample", elem_id="sample", visible=all(path.is_file() for path in SAMPLE))
        looking = gr.HTML("", elem_id="looking")
        film = gr.HTML(None, html_template=_FILM, js_on_load=code["film"], elem_id="film")
        preset = gr.Dropdown(labels, label="Preset", value=labels[0][1], elem_id="preset")
        gr.Markdown(_NOTE)
        with gr.Group():
            consent = gr.Checkbox(label=CONSENT, elem_id="consent")
            agreed = gr.Textbox(label="Who agreed (optional; recorded in the receipt)", max_lines=1, max_length=500)
        with gr.Row():
            preview = gr.Button(f"Preview {PREVIEW_S} seconds", variant="primary", elem_id="preview")
            whole = gr.Button("Dub it all", elem_id="whole")
        said = gr.HTML("", html_template=_SAID, elem_id="said")
        gr.Markdown("### Your dubs")
        jobs = gr.HTML([], html_template=_JOBS, js_on_load=code["jobs"], elem_id="jobs")
        result = gr.HTML(None, html_template=_RESULT, js_on_load=code["result"], elem_id="result")
        clock = gr.Timer(1.0)

        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        live = [visitor, tab, looking, film, jobs, result]
        page.load(partial(_arrive, desk), [visitor, tab], live, **quiet)
        clock.tick(partial(_tick, desk), [visitor, tab], live[1:], **quiet, queue=False)
        for kind, by in (("file", by_file), ("recording", by_microphone), ("text", by_text)):
            by.select(partial(_speech_by, kind), [tab], [tab], **quiet, queue=False)
        target.change(partial(_look, desk), [visitor, tab, target], [tab, looking, film, said], **quiet)
        sample.click(_sample, None, [target, speech], **quiet)
        asked = [visitor, tab, target, speech, recording, text, voice, film, preset, consent, agreed]
        for button, is_preview in ((preview, True), (whole, False)):
            button.click(partial(_dub, desk, is_preview), asked, [tab, said, jobs], **quiet)
        for name, act in (("cancel", desk.queue.cancel), ("remove", desk.queue.remove)):
            getattr(jobs, name)(_acting(desk, act), [visitor, tab], live[1:], **quiet)
        jobs.look(_choosing(desk), [visitor, tab], live[1:], **quiet)
        _api(desk)
    return page


def theme() -> Any:
    """Colours and fonts that need nothing from elsewhere."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    plain = gr.themes.Default(primary_hue="blue", neutral_hue="slate", **fonts)
    fills = {f"button_primary_background_fill{end}": "*primary_700" for end in ("", "_dark")}
    hovers = {f"button_primary_background_fill_hover{end}": "*primary_800" for end in ("", "_dark")}
    return plain.set(**fills, **hovers)  # white on the usual blue is too faint to read


def style() -> str:
    return _file("page.css")


def _file(name: str) -> str:
    return (resources.files("lipsync.ui") / "templates" / name).read_text(encoding="utf-8")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _arrive(desk: Desk, visitor: str, tab: dict) -> list[Any]:
    """A page was opened, or opened again: the visitor's jobs are shown."""
    if not re.fullmatch(r"[\w-]{20,64}", visitor or ""):
        visitor = secrets.token_urlsafe(18)
    finished = [job for job in desk.queue.of(visitor) if job.kind != "people" and job.state == "done"]
    looks = [
        job for job in desk.queue.of(visitor) if job.kind == "people" and job.state in ("waiting", "running", "done")
    ]
    tab = {"shown": finished[0].id if finished else None, "look": looks[0].id if looks else None, "told": {}}
    return [visitor, *_tick(desk, visitor, tab)]


def _tick(desk: Desk, visitor: str, tab: dict) -> list[Any]:
    """What has changed since this tab last heard; what has not stays as it is."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    mine = [job for job in desk.queue.of(visitor) if job.kind != "people"]
    look = desk.queue.get(tab.get("look") or "", visitor)
    for job in mine:
        if job.id in tab.get("awaited", []) and job.state == "done":
            tab["shown"] = job.id
    tab["awaited"] = [job.id for job in mine if not job.ended and job.id in tab.get("awaited", [])]
    shown = desk.queue.get(tab.get("shown") or "", visitor)
    now = {
        "looking": _looking(look),
        "film": _film_of(look),
        "jobs": [_entry(desk, job) for job in mine],
        "result": told(shown) if shown is not None and shown.state == "done" else None,
    }
    known = tab.setdefault("told", {})
    # a film is told of once: from then on what the visitor chose in it counts
    marks = now | {"film": None if now["film"] is None else look.id if look else None, "result": shown and shown.id}
    news = [value if known.get(name, "") != marks[name] else gr.skip() for name, value in now.items()]
    tab["told"] = marks
    return [tab, *news]


def _looking(look: Job | None) -> str:
    if look is None or look.state in ("done", "cancelled"):
        return ""
    if look.state == "failed":
        return f'<div class="said" role="alert">{_escaped(look.sentence)}</div>'
    return f'<div role="status">Looking who is in {_escaped(look.name)} … {_words(look)}</div>'


def _film_of(look: Job | None) -> dict[str, Any] | None:
    """What the page's film shows, from the report of `lipsync people`."""
    if look is None or look.state != "done":
        return None
    sheet = look.result
    kept = ("index", "thumbnail", "share", "speaking_share", "spans")
    people = [{key: one[key] for key in kept} for one in sheet["people"]]
    return {
        "name": look.name,
        "duration_s": sheet["duration_s"],
        "people": people,
        "chosen": sheet["main"],
        "parts": [],
    }


def _entry(desk: Desk, job: Job) -> dict[str, Any]:
    """A job in the list."""
    if job.state == "waiting":
        n = desk.queue.ahead_of(job)
        words = f"waits for {counted(n, 'other job')}" if n else "starts soon"
    elif job.state == "running":
        words = _words(job)
    else:
        words = job.sentence or _STATES[job.state]
    return {
        "id": job.id,
        "title": f"{'Preview' if job.kind == 'preview' else 'Dub'}: {job.name}",
        "state": job.state,
        "words": words,
        "share": round(job.share, 3),
        "look": job.state == "done",
        "stoppable": not job.ended,
    }


def _words(job: Job) -> str:
    """How far a running job is."""
    if job.stop.is_set():
        return "stopping"
    if not job.step:
        return "starting" if job.state == "running" else "waits for its turn"
    step = _STEPS.get(job.step, job.step)
    if not job.expected:
        return f"{step}, {percent(job.seen.get(job.step, 0.0))}"
    left = "" if job.left_s is None else f", about {format_duration(max(1, round(job.left_s)))} left"
    return f"{percent(job.share)}{left}: {step}"


def _escaped(text: str) -> str:
    import html

    return html.escape(text)


def _speech_by(kind: str, tab: dict) -> dict:
    return tab | {"by": kind}


def _sample() -> list[str]:
    return [str(path) for path in SAMPLE]


def _look(desk: Desk, visitor: str, tab: dict, target: str | None) -> list[Any]:
    """A target arrived, or was taken away."""
    before = desk.queue.get(tab.get("look") or "", visitor)
    if before is not None:
        desk.queue.remove(before)
    tab = tab | {"look": None}
    if target is None:
        return [tab, "", None, ""]
    try:
        tab["look"] = desk.look(Path(target), visitor).id
    except LipsyncError as error:
        return [tab, "", None, _escaped(str(error))]
    return [tab, "", None, ""]


def _dub(desk: Desk, is_preview: bool, visitor: str, tab: dict, *asked: Any) -> list[Any]:
    """One of the two buttons was pressed."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    target, speech, recording, text, voice, film, preset, consent, agreed = asked
    look = desk.queue.get(tab.get("look") or "", visitor)
    folder = desk.place.new_folder()
    try:
        if look is not None and look.state == "failed":
            raise LipsyncError(look.sentence)
        if look is not None:
            target = look.folder / look.name
        if target is None:
            raise UsageError("There is no target yet. Give a video of a person who talks, or try the sample.")
        by = tab.get("by", "file")
        if by == "text":
            speak(text or "", voice or "", folder / "typed.wav")
        given = {"file": speech, "recording": recording, "text": folder / "typed.wav"}[by]
        if given is None:
            raise UsageError("There is nothing to say yet. Give a sound file, or record one.")
        film = film if isinstance(film, dict) else {}
        wanted = Wanted(
            Path(target),
            Path(given),
            preset=preset or "",
            face=film.get("chosen"),
            parts=film.get("parts") or (),
            consent=bool(consent),
            agreed=agreed or "",
            preview=is_preview,
            film_s=float(film.get("duration_s") or 30.0),
        )
        job = desk.dub(wanted, visitor, after=look)
    except LipsyncError as error:
        return [gr.skip(), _escaped(str(error)), gr.skip()]
    finally:
        _remove(folder)
    tab = tab | {"awaited": [*tab.get("awaited", []), job.id]}
    mine = [one for one in desk.queue.of(visitor) if one.kind != "people"]
    return [tab, "", [_entry(desk, one) for one in mine]]


def _acting(desk: Desk, act: Callable[[Job], None]) -> Callable[..., list[Any]]:
    """A handler that does something to the job that was clicked."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    def handle(visitor: str, tab: dict, event: gr.EventData) -> list[Any]:
        job = desk.queue.get(str(event._data.get("id", "")), visitor)
        if job is not None:
            act(job)
        return _tick(desk, visitor, tab)

    handle.__annotations__["event"] = gr.EventData
    return handle


def _choosing(desk: Desk) -> Callable[..., list[Any]]:
    """A handler that shows the job that was clicked."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    def handle(visitor: str, tab: dict, event: gr.EventData) -> list[Any]:
        return _tick(desk, visitor, tab | {"shown": str(event._data.get("id", ""))})

    handle.__annotations__["event"] = gr.EventData
    return handle


def _api(desk: Desk) -> None:
    """What programs call: /dub."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    def dub(target: str | None, speech: str | None, consent: bool, agreed: str, preset: str, face: int, preview: bool):
        try:
            if target is None or speech is None:
                raise UsageError("Give a target and a speech.")
            owner = secrets.token_urlsafe(18)
            which = None if face is None or face < 0 else int(face)
            wanted = Wanted(Path(target), Path(speech), preset, which, (), bool(consent), agreed or "", bool(preview))
            job = desk.dub(wanted, owner)
        except LipsyncError as error:
            raise gr.Error(str(error), print_exception=False) from None
        try:
            desk.queue.wait(job)
            if job.state != "done":
                raise gr.Error(job.sentence or "The dub was cancelled.", print_exception=False)
            yield [str(job.folder / job.outputs[use]) for use in ("video", "receipt")]
        finally:  # Gradio has copies by now
            desk.queue.remove(job)

    with gr.Row(visible=False):
        inputs = [
            gr.File(label="target"),
            gr.File(label="speech"),
            gr.Checkbox(label="consent"),
            gr.Textbox(label="agreed"),
            gr.Textbox(label="preset", value=next(iter(desk.presets))),
            gr.Number(label="face", value=-1, precision=0),
            gr.Checkbox(label="preview"),
        ]
        outputs = [gr.File(label="video"), gr.File(label="receipt")]
        gr.Button("dub").click(dub, inputs, outputs, api_name="dub", concurrency_limit=8)
