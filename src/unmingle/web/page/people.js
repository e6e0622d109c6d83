"use strict";
// Who the people of a recording are: when they speak, what they are called, who is one and the same, and one of
// them alone.
let arrangements = []; // those before this one, to go back to

function forgetPeople() {
  arrangements = [];
}

// `change` asks the server for other people, and shows them; false if it refused.
function showPeople(rows, job, change) {
  const people = job.people.map((person) => ({ ...person, row: rows.find((row) => row.id === person.name) }));
  const plain = () => people.map(({ name, tracks }) => ({ name, tracks }));
  const ask = async (wanted) => {
    const before = plain();
    if (await change(wanted)) arrangements.push(before);
  };
  drawTimeline(people, job);
  for (const person of people) {
    const { article } = player.rows.find((row) => row.id === person.name);
    nameField(article, person, (name) =>
      ask(plain().map((other) => (other.name === person.name ? { ...other, name } : other))),
    );
    if (people.length > 1) sameField(article, person, people, (other) => ask(joined(plain(), person, other)));
  }
  at("undo").hidden = !arrangements.length;
  at("undo").onclick = async () => {
    const before = arrangements.pop();
    if (!(await change(before))) arrangements.push(before);
  };
  onlyPerson(null);
}

function joined(people, person, other) {
  const [first, second] = [person, other].map(({ name }) => people.findIndex((each) => each.name === name));
  const tracks = [...people[first].tracks, ...people[second].tracks];
  return people
    .map((each, k) => (k === first ? { ...each, tracks } : each))
    .filter((_, k) => k !== second);
}

function nameField(article, person, rename) {
  const label = `Name of ${person.row.label}`;
  const field = make("input", { type: "text", className: "person", value: person.row.label, maxLength: 60 });
  field.setAttribute("aria-label", label);
  field.title = `${label}: click to change it`;
  field.addEventListener("change", async () => {
    const name = field.value.trim();
    if (name && name !== person.row.label) await rename(name);
    field.value = person.row.label; // of one that was renamed, the row is another now
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") field.blur();
    if (event.key === "Escape") field.value = person.row.label;
  });
  article.querySelector("h3").replaceChildren(field);
}

function sameField(article, person, people, join) {
  const label = `${person.row.label} is the same person as`;
  const field = make("select", { className: "same", title: label });
  field.setAttribute("aria-label", label);
  field.append(make("option", { value: "", textContent: "Same person as…" }));
  for (const other of people) {
    if (other !== person) field.append(make("option", { value: other.name, textContent: other.row.label }));
  }
  field.addEventListener("change", () => {
    if (field.value) join(people.find((other) => other.name === field.value));
  });
  article.querySelector(".links").append(field);
}

// A line per person, a button per stretch of speech, in the colour of the person's row; a click goes there, and
// offers that person alone.
function drawTimeline(people, job) {
  at("timeline").hidden = !people.length;
  at("timeline").replaceChildren(
    ...people.map(({ name, row }) => {
      const line = make("div", { className: `line ${row.colour}`, role: "listitem", "aria-label": row.label });
      for (const { speaker, start_s, end_s } of job.segments) {
        if (speaker !== name) continue;
        const told = `${row.label} from ${minutes(start_s)} to ${minutes(end_s)}`;
        const stretch = make("button", { type: "button", title: told, "aria-label": told, tabIndex: -1 });
        stretch.style.left = `${(100 * start_s) / job.duration_s}%`;
        stretch.style.width = `${(100 * (end_s - start_s)) / job.duration_s}%`;
        stretch.addEventListener("click", () => {
          player.seek(start_s);
          offer(row, told);
        });
        line.append(stretch);
      }
      return line;
    }),
  );
}

function offer(row, told) {
  at("stretch").hidden = false;
  at("stretch-text").textContent = told;
  at("only-person").hidden = false;
  at("only-person").onclick = () => onlyPerson(row);
}

// One person's row alone; null: everybody's.
function onlyPerson(chosen) {
  at("stretch").hidden = !chosen;
  at("only-person").hidden = Boolean(chosen);
  at("everybody").hidden = !chosen;
  if (chosen) at("stretch-text").textContent = `Only ${chosen.label}`;
  at("everybody").onclick = () => onlyPerson(null);
  for (const row of player.rows) {
    row.article.hidden = Boolean(chosen) && row.id !== chosen.id;
    row.soloed = Boolean(chosen) && row.id === chosen.id;
  }
  player.mix();
}
