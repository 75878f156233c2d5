"use strict";
// The players of a quality report. The film holds original and dub side by side in every frame: they cannot drift apart.
(() => {
const $ = id => document.getElementById(id);
const facts = JSON.parse($("facts").textContent), places = JSON.parse($("places").textContent);
const film = $("film"), seek = $("seek"), timeline = $("timeline"), edge = $("edge");
const times = facts.frame_times, duration = facts.duration_s, parts = facts.parts;
const [over, under] = facts.rate.split("/").map(Number), rate = over / (under || 1);
let zoomed = false, wiping = false, wanted = 0;

// Frames and seconds of the dub; the middle of a frame is sought, so that rounding cannot land beside it.
const rowAt = s => {
  if (!times.length) return Math.min(facts.frames - 1, Math.max(0, Math.floor(s * rate + 1e-3)));
  let low = 0, high = times.length - 1;
  while (low < high) { const middle = (low + high + 1) >> 1; if (times[middle] <= s + 1e-4) low = middle; else high = middle - 1; }
  return low;
};
const start = row => times.length ? (row < times.length ? times[row] : duration) : row / rate;
const middle = row => (start(row) + Math.min(start(row + 1), duration)) / 2;

// Seconds of the dub and of the film, which may hold parts of it only.
const toFilm = s => {
  let best = parts[0], far = Infinity;
  for (const part of parts) {
    const away = s < part.start_s ? part.start_s - s : s >= part.end_s ? s - part.end_s + 1e-6 : 0;
    if (away < far) { far = away; best = part; }
  }
  const row = Math.min(Math.max(rowAt(s), best.first), best.after - 1);
  return best.film_s + middle(row) - best.start_s;
};
const fromFilm = s => {
  let found = parts[0];
  for (const part of parts) if (part.film_s <= s + 1e-6) found = part;
  return Math.min(found.end_s, found.start_s + s - found.film_s);
};

const text = s => `${Math.floor(s / 60)}:${(s % 60).toFixed(2).padStart(5, "0")}`;

function piece(row, side) {
  // Which part of the film's picture is shown: x, y, width, height.
  const w = film.videoWidth / (facts.original ? 2 : 1), h = film.videoHeight, x0 = facts.original ? side * w : 0;
  if (!zoomed || !places.length) return [x0, 0, w, h];
  const [x, y, mouth] = places[row], wide = Math.min(w, mouth * w * 3.2), high = Math.min(h, wide * h / w);
  return [x0 + Math.min(Math.max(x * w - wide / 2, 0), w - wide), Math.min(Math.max(y * h - high / 2, 0), h - high), wide, high];
}

function paint(canvas, row, side, until) {
  const w = film.videoWidth / (facts.original ? 2 : 1), h = film.videoHeight;
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const [x, y, wide, high] = piece(row, side), share = until === undefined ? 1 : until, pen = canvas.getContext("2d");
  if (share > 0) pen.drawImage(film, x, y, wide * share, high, 0, 0, w * share, h);
  return pen;
}

function show(filmSeconds) {
  if (film.readyState < 2) return;
  const now = fromFilm(filmSeconds), row = rowAt(now + 1e-4);
  if (wiping) {
    const share = edge.value / 100, pen = paint($("both"), row, 1);
    paint($("both"), row, 0, share);
    pen.fillStyle = "#fff";
    pen.fillRect(share * pen.canvas.width - 1, 0, 2, pen.canvas.height);
  } else {
    if (facts.original) paint($("original"), row, 0);
    paint($("dub"), row, 1);
  }
  wanted = now;
  seek.value = now;
  seek.setAttribute("aria-valuetext", text(now));
  timeline.style.setProperty("--t", Math.min(1, now / duration));
  $("time").value = `${text(now)} / ${text(duration)} · frame ${row}`;
  document.body.dataset.row = row;
}

// A playing picture tells its own time, which is not always `currentTime`; out of sight, none is shown and none tells.
let shown = 0;
const showAt = s => { shown = s; show(s); };
if (film.requestVideoFrameCallback) {
  const onFrame = (_, frame) => { showAt(frame.mediaTime); film.requestVideoFrameCallback(onFrame); };
  film.requestVideoFrameCallback(onFrame);
}
for (const event of ["loadeddata", "seeked", "timeupdate"]) film.addEventListener(event, () => showAt(film.currentTime));

function goto(s) { wanted = s; film.currentTime = toFilm(s); }
function step(n) { film.pause(); goto(middle(Math.min(facts.frames - 1, Math.max(0, rowAt(wanted + 1e-4) + n)))); }
function play() { if (film.paused) film.play(); else film.pause(); }
function look(s) {
  film.pause();
  goto(s);
  for (const link of document.querySelectorAll("a.at")) {
    if (Math.abs(link.dataset.at - s) < 1e-3) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
  $("players").scrollIntoView({block: "nearest"});
}
let moment = -1;
function next() {
  if (!facts.moments.length) return;
  moment = (moment + 1) % facts.moments.length;
  look(facts.moments[moment].at_s);
}
function toggle(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  return on;
}
function slide() {
  if (!facts.original) return;
  wiping = toggle($("slider"));
  document.querySelector(".stage").hidden = wiping;
  document.querySelector(".wipe").hidden = !wiping;
  show(shown);
}
function closeUp() { if (places.length) { zoomed = toggle($("close-up")); show(shown); } }

$("play").addEventListener("click", play);
$("back").addEventListener("click", () => step(-1));
$("on").addEventListener("click", () => step(1));
$("next").addEventListener("click", next);
$("speed").addEventListener("change", event => { film.playbackRate = Number(event.target.value); });
$("mute").addEventListener("click", event => { film.muted = toggle(event.currentTarget); });
seek.addEventListener("input", () => goto(Number(seek.value)));
for (const event of ["play", "pause", "ended"]) film.addEventListener(event, () => { $("play").textContent = film.paused ? "Play" : "Pause"; });
if (facts.original) {
  $("slider").addEventListener("click", slide);
  edge.addEventListener("input", () => show(shown));
  const both = $("both"), drag = event => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = both.getBoundingClientRect();
    edge.value = 100 * (event.clientX - box.left) / box.width;
    show(shown);
  };
  both.addEventListener("pointerdown", drag);
  both.addEventListener("pointermove", drag);
}
if (places.length) $("close-up").addEventListener("click", closeUp);

document.addEventListener("click", event => {
  const link = event.target.closest("a.at"), track = event.target.closest(".track");
  if (link) {
    event.preventDefault();
    history.replaceState(null, "", link.getAttribute("href"));
    moment = facts.moments.findIndex(one => Math.abs(one.at_s - link.dataset.at) < 1e-3);
    look(Number(link.dataset.at));
  } else if (track) {
    const box = track.getBoundingClientRect();
    goto(duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  }
});
document.addEventListener("keydown", event => {
  const at = event.target.tagName;
  if (event.ctrlKey || event.metaKey || event.altKey || at === "SELECT") return;
  const own = {" ": at === "BUTTON" || at === "A" || at === "SUMMARY" ? null : play, n: next, s: slide, m: closeUp,
    ArrowLeft: event.target === edge ? null : () => step(-1), ArrowRight: event.target === edge ? null : () => step(1)};
  const action = own[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) { event.preventDefault(); action(); }
});

const letters = atob($("bytes").textContent.trim()), bytes = new Uint8Array(letters.length);
for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
film.src = URL.createObjectURL(new Blob([bytes], {type: "video/mp4"}));
const asked = /^#t=([\d.]+)$/.exec(location.hash);
film.addEventListener("loadedmetadata", () => { if (asked) look(Number(asked[1])); else goto(middle(parts[0].first)); }, {once: true});
})();
