// A finished dub. value: {id, title, film, start_s, lines, files: [[name, url]], report} or null. film: the original's
// pictures above those of the dub, drawn on both sides of a line that can be moved.
const make = (tag, props = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...inside);
  return node;
};
let shown = null, again = 0;

function slider(value) {
  const film = make('video', {src: value.film, preload: 'auto', playsInline: true, loop: true});
  const canvas = make('canvas', {width: 16, height: 9}), pen = canvas.getContext('2d');
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', 'Left of the line the original, right of it the dub');
  const at = make('input', {type: 'range', min: 0, max: 1, step: 0.001, value: 0.5, className: 'line'});
  at.setAttribute('aria-label', 'Where the original ends and the dub begins');
  const play = make('button', {type: 'button', textContent: 'Play', className: 'play'});
  const place = make('input', {type: 'range', min: 0, max: 1, step: 0.001, value: 0, className: 'place'});
  place.setAttribute('aria-label', 'Place in the film');
  const paint = () => {
    const width = film.videoWidth, height = film.videoHeight / 2;
    if (!width) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const x = Math.round(width * at.value);
    if (x > 0) pen.drawImage(film, 0, 0, x, height, 0, 0, x, height);
    if (x < width) pen.drawImage(film, x, height, width - x, height, x, 0, width - x, height);
    pen.fillStyle = '#fff'; pen.fillRect(x - 1, 0, 2, height);
    if (film.duration) place.value = film.currentTime / film.duration;
  };
  const loop = () => { if (!film.paused && canvas.isConnected) { paint(); again = requestAnimationFrame(loop); } };
  const toggle = () => film.paused ? film.play() : film.pause();
  for (const name of ['loadeddata', 'seeked', 'pause']) film.addEventListener(name, paint);
  film.addEventListener('play', () => { play.textContent = 'Pause'; cancelAnimationFrame(again); loop(); });
  film.addEventListener('pause', () => { play.textContent = 'Play'; });
  at.addEventListener('input', paint);
  place.addEventListener('input', () => { film.currentTime = place.value * film.duration; });
  play.addEventListener('click', toggle);
  const slide = event => {
    const box = canvas.getBoundingClientRect();
    at.value = (event.clientX - box.left) / box.width; paint();
  };
  canvas.addEventListener('pointerdown', event => { canvas.setPointerCapture(event.pointerId); slide(event); });
  canvas.addEventListener('pointermove', event => { if (canvas.hasPointerCapture(event.pointerId)) slide(event); });
  return make('div', {className: 'slider'},
    make('div', {className: 'names'}, make('span', {textContent: 'Original'}), make('span', {textContent: 'Dub'})),
    canvas, at, make('div', {className: 'controls'}, play, place));
}

function draw() {
  const root = element.querySelector('.result'), value = props.value || null;
  if (!root || (root.childElementCount && JSON.stringify(value) === shown)) return;
  shown = JSON.stringify(value);
  if (!value) { root.replaceChildren(); return; }
  const parts = [make('h3', {textContent: value.title})];
  if (value.film) parts.push(slider(value));
  const files = value.files.map(([name, url]) => make('a', {href: url, download: '', textContent: name, className: 'file'}));
  parts.push(make('p', {className: 'files'}, ...files));
  if (value.video) parts.push(make('details', {}, make('summary', {textContent: 'Play the whole result'}),
    make('video', {src: value.video, controls: true, preload: 'none', playsInline: true})));
  parts.push(make('ul', {className: 'lines'}, ...value.lines.map(line => make('li', {textContent: line}))));
  if (value.report) {
    const frame = make('iframe', {src: value.report, title: 'Report', loading: 'lazy'});
    frame.setAttribute('sandbox', 'allow-scripts');
    parts.push(make('details', {className: 'report'}, make('summary', {textContent: 'The report'}), frame));
  }
  root.replaceChildren(...parts);
}
watch('value', draw);
draw();
