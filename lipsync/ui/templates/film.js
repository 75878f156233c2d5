// Who is in the film, and which parts of it are dubbed. value: {name, duration_s, main, people, turns, chosen, parts},
// parts: [[from_s, to_s, person], ...]; none = the whole film.
const make = (tag, props = {}, ...inside) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key === 'style') Object.assign(node.style, value);
    else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== 'list') node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...inside);
  return node;
};
const percent = share => `${Math.round(100 * share)} %`;
const time = s => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, '0')}`;
let state = null, drawn = '';

const tell = () => {
  drawn = JSON.stringify(state);
  props.value = JSON.parse(drawn);  // a new object: the same one would be taken for unchanged
  trigger('change');
};
const change = edit => { edit(); tell(); draw(); };
const clean = part => {
  const long = state.duration_s, shortest = Math.min(0.2, long);
  part[0] = Math.round(100 * Math.max(0, Math.min(part[0], long - shortest))) / 100;
  part[1] = Math.round(100 * Math.max(part[0] + shortest, Math.min(part[1], long))) / 100;
};

const person = one => {
  const id = `face-${one.index}`;
  const says = one.speaking_share === null ? '' : `, says ${percent(one.speaking_share)} of what is said`;
  return make('label', {className: 'face', htmlFor: id},
    make('input', {type: 'radio', name: 'face', id, checked: state.chosen === one.index,
      onchange: () => change(() => { state.chosen = one.index; })}),
    make('img', {src: `data:image/jpeg;base64,${one.thumbnail}`, alt: ''}),
    make('span', {}, `Face ${one.index}`),
    make('small', {}, `seen ${percent(one.share)} of the time${says}`));
};

const block = (part, k) => {
  const node = make('div', {className: 'part', title: 'Drag to move, drag an end to change it'},
    make('i'), String(k + 1), make('i'));
  const place = () => {
    node.style.left = `${100 * part[0] / state.duration_s}%`;
    node.style.width = `${100 * (part[1] - part[0]) / state.duration_s}%`;
  };
  node.addEventListener('pointerdown', down => {
    const strip = node.parentElement.getBoundingClientRect(), before = [...part];
    const end = down.target === node.firstChild ? 0 : down.target === node.lastChild ? 1 : null;
    node.setPointerCapture(down.pointerId);
    const move = at => {
      const by = (at.clientX - down.clientX) / strip.width * state.duration_s;
      if (end !== null) part[end] = before[end] + by;
      else {
        const shift = Math.max(-before[0], Math.min(by, state.duration_s - before[1]));
        part[0] = before[0] + shift; part[1] = before[1] + shift;
      }
      clean(part); place();
    };
    const up = () => { node.removeEventListener('pointermove', move); change(() => {}); };
    node.addEventListener('pointermove', move);
    node.addEventListener('pointerup', up, {once: true});
    node.addEventListener('pointercancel', up, {once: true});
    down.preventDefault();
  });
  place();
  return node;
};

const row = (part, k) => {
  const number = (at, words) => make('label', {}, words, make('input', {type: 'number', min: 0, max: state.duration_s,
    step: 0.1, value: part[at], 'aria-label': `Part ${k + 1} ${words} (seconds)`,
    onchange: event => change(() => { part[at] = Number(event.target.value) || 0; clean(part); })}), 's');
  const who = state.people.length < 2 ? [] : [make('label', {}, 'face', make('select', {
    'aria-label': `Who speaks in part ${k + 1}`, onchange: event => change(() => { part[2] = Number(event.target.value); })},
    ...state.people.map(one => make('option', {value: one.index, selected: one.index === part[2]}, String(one.index)))))];
  return make('div', {className: 'row'}, make('b', {}, String(k + 1)), number(0, 'from'), number(1, 'to'), ...who,
    make('button', {type: 'button', 'aria-label': `Remove part ${k + 1}`,
      onclick: () => change(() => { state.parts.splice(k, 1); })}, 'Remove'));
};

const add = () => change(() => {
  const length = Math.min(3, state.duration_s / 4), last = Math.max(0, ...state.parts.map(part => part[1]));
  const from = last + length <= state.duration_s ? last : Math.max(0, state.duration_s - length);
  state.parts.push([from, from + length, state.chosen]);
  clean(state.parts.at(-1));
});

const meaning = () => {
  if (!state.parts.length) return 'No part is chosen: the person says the whole speech.';
  if (state.parts.length === 1)
    return `Only ${time(state.parts[0][0])} to ${time(state.parts[0][1])} is dubbed: the speech begins there, the rest of the film stays as it is.`;
  return 'Only these parts are dubbed. The speech runs beside the whole film: at 0:10 of the film its own 0:10 is said.';
};

function draw() {
  const root = element.querySelector('.film');
  if (!root) return;
  const focused = root.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
  if (!state || !state.people) { root.replaceChildren(); return; }
  const ticks = state.people.filter(one => one.index === state.chosen).flatMap(one => one.spans);
  const span = ([from, to]) => make('div', {className: 'seen', style: {
    left: `${100 * from / state.duration_s}%`, width: `${100 * (to - from) / state.duration_s}%`}});
  root.replaceChildren(
    make('h3', {}, `3. Who is dubbed in ${state.name}`),
    make('div', {className: 'faces', role: 'radiogroup', 'aria-label': 'Who is dubbed'}, ...state.people.map(person)),
    make('h3', {}, '4. Which part is dubbed'),
    make('div', {className: 'strip', 'aria-hidden': 'true'}, ...ticks.map(span), ...state.parts.map(block)),
    make('div', {className: 'scale', 'aria-hidden': 'true'}, make('span', {}, '0:00.0'), make('span', {}, time(state.duration_s))),
    ...state.parts.map(row),
    make('div', {className: 'row'}, make('button', {type: 'button', className: 'add', onclick: add}, 'Dub only a part'),
      make('small', {}, meaning())));
  if (state.parts.length) root.querySelector('.add').textContent = 'Add a part';
  if (focused) root.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}
const take = () => {
  const text = JSON.stringify(props.value || null);
  if (text === drawn && element.querySelector('.film')?.childElementCount) return;
  state = JSON.parse(text); drawn = text; draw();
};
watch('value', take);
take();
