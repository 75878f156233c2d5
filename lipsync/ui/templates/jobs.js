// The visitor's jobs. value: [{id, title, state, words, share, look, stoppable}, ...], the newest first.
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  node.className = className; node.textContent = text || '';
  return node;
};
const button = (text, event, id) => {
  const node = make('button', event, text);
  node.type = 'button';
  node.addEventListener('click', () => trigger(event, {id: node.dataset.id}));
  node.dataset.id = id;
  return node;
};
const entry = job => {
  const node = make('li', '', '');
  node.dataset.id = job.id;
  const bar = document.createElement('progress');
  bar.max = 1; bar.setAttribute('aria-label', `Progress of ${job.title}`);
  const buttons = make('span', 'buttons');
  node.append(make('b', 'title'), bar, make('span', 'words'), buttons);
  buttons.append(button('Look', 'look', job.id), button('Cancel', 'cancel', job.id), button('Remove', 'remove', job.id));
  return node;
};
function draw() {
  const list = element.querySelector('.jobs');
  if (!list) return;
  const jobs = props.value || [];
  const old = new Map([...list.children].map(node => [node.dataset.id, node]));
  const nodes = jobs.map(job => {
    const node = old.get(job.id) || entry(job);
    const set = (name, text) => { const at = node.querySelector(name); if (at.textContent !== text) at.textContent = text; };
    node.className = job.state;
    set('.title', job.title); set('.words', job.words);
    const bar = node.querySelector('progress');
    bar.hidden = job.state !== 'running'; bar.value = job.share;
    node.querySelector('.look').hidden = !job.look;
    node.querySelector('.cancel').hidden = !job.stoppable;
    node.querySelector('.remove').hidden = job.stoppable;
    for (const name of ['look', 'cancel', 'remove'])
      node.querySelector(`.${name}`).setAttribute('aria-label', `${name[0].toUpperCase()}${name.slice(1)}: ${job.title}`);
    return node;
  });
  if (nodes.length !== list.children.length || nodes.some((node, k) => node !== list.children[k])) list.replaceChildren(...nodes);
}
watch('value', draw);
draw();
