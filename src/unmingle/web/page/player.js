"use strict";
// Rows that play in step: each is a media element, which reads its file as it plays, however long that is,
// and goes through a gain of its own. They start together, once all can; the first is the clock of the others.
const CHECK_MS = 100; // how often the others are compared with the clock
const EXACT_S = 0.002; // what is so close to the clock is left alone
const APART_S = 0.15; // what is further from it starts again, with all; in between, it plays faster or slower
const CATCH_UP_S = 0.5; // an offset is made up for in so long
const RAMP_S = 0.02; // so that a change of level does not click

function make(name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function minutes(seconds) {
  const whole = Math.floor(seconds + 0.001);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `${h ? `${h}:${String(m).padStart(2, "0")}` : m}:${String(s).padStart(2, "0")}`;
}

// A media element that plays when all do.
class Follower {
  constructor(sound) {
    this.sound = sound;
    this.broken = false;
  }

  get isAtEnd() {
    return this.sound.ended || this.sound.currentTime >= this.sound.duration - 0.05;
  }

  get isReady() {
    return this.broken || (!this.sound.seeking && (this.sound.readyState >= 3 || this.isAtEnd));
  }

  // Go to a time, and wait until it can play there.
  async prepare(time) {
    this.sound.pause();
    this.sound.playbackRate = 1;
    if (this.sound.currentTime !== time) this.sound.currentTime = time;
    while (!this.isReady) {
      await new Promise((later) => {
        for (const event of ["canplay", "seeked", "error", "emptied"]) {
          this.sound.addEventListener(event, later, { once: true });
        }
      });
    }
  }
}

class Row extends Follower {
  constructor(player, { id, label, detail, colour, address, download, peaks, muted }, scale, duration) {
    super(make("audio", { id: `sound-${id}`, preload: "auto", preservesPitch: false, src: address }));
    this.id = id;
    this.label = label;
    this.colour = colour;
    this.player = player;
    this.soloed = false;
    this.muted = Boolean(muted);
    this.gain = null; // a node, once the visitor has started something: browsers allow no sound before
    this.only = this.button("only", "", `Play ${label} alone`, () => player.playOnly(this));
    this.only.append(make("span", { className: "icon" }));
    this.solo = this.button("solo", "Solo", `Solo ${label}`, () => player.toggle(this, "soloed", "muted"));
    this.mute = this.button("mute", "Mute", `Mute ${label}`, () => player.toggle(this, "muted", "soloed"));
    const range = { type: "range", min: 0, max: 100, step: 1, value: 100, className: "volume" };
    this.level = make("input", { ...range, "aria-label": `Level of ${label}`, title: `Level of ${label}` });
    this.level.addEventListener("input", () => this.mix());
    this.canvas = make("div", { className: "wave" });
    const name = make("div", { className: "name" }, make("h3", { textContent: label }));
    if (detail) name.append(make("small", { textContent: detail, title: detail }));
    this.links = make("div", { className: "links" });
    if (download) {
      const text = { textContent: "Download", "aria-label": `Download ${label}` };
      this.links.append(make("a", { href: download, download: "", ...text }));
    }
    const buttons = make("div", { className: "buttons" }, this.solo, this.mute);
    const parts = [this.only, name, this.canvas, buttons, this.level, this.links, this.sound];
    this.article = make("article", { "aria-label": label, className: colour }, ...parts);
    this.sound.addEventListener("error", () => this.fail());
    this.sound.addEventListener("waiting", () => player.starve(this));
    player.place.append(this.article);
    this.wave = WaveSurfer.create({
      container: this.canvas,
      media: this.sound,
      peaks: [peaks],
      duration,
      height: 56,
      barWidth: 2,
      barGap: 1,
      barRadius: 2,
      barHeight: scale,
      cursorWidth: 2,
      dragToSeek: true,
      hideScrollbar: true,
      cspNonce: document.body.dataset.nonce,
      ...this.colours(),
    });
    this.wave.on("interaction", (time) => player.seek(time));
    this.wave.on("drag", (share) => player.seek(share * duration));
  }

  button(kind, text, label, action) {
    const made = make("button", {
      type: "button",
      className: kind,
      textContent: text,
      "aria-label": label,
      title: label,
    });
    made.addEventListener("click", action);
    return made;
  }

  colours() {
    const colour = (element) => getComputedStyle(element).color;
    return {
      waveColor: colour(this.canvas), // opaque: the played part is drawn in its shape
      progressColor: colour(this.solo.parentElement),
      cursorColor: colour(this.article),
    };
  }

  // Solo beats mute, and a row that is muted is not soloed; the level is the gain of what is audible.
  mix() {
    const audible = this.player.rows.some((row) => row.soloed) ? this.soloed : !this.muted;
    const level = audible ? this.level.valueAsNumber / 100 : 0;
    this.article.classList.toggle("quiet", !audible);
    this.solo.setAttribute("aria-pressed", this.soloed);
    this.mute.setAttribute("aria-pressed", this.muted);
    this.level.setAttribute("aria-valuetext", `${this.level.value} %`);
    if (!this.gain) return;
    const now = this.gain.context.currentTime;
    this.gain.gain.cancelScheduledValues(now);
    this.gain.gain.setValueAtTime(this.gain.gain.value, now);
    this.gain.gain.linearRampToValueAtTime(level, now + RAMP_S);
  }

  connect(context) {
    if (this.gain) return;
    this.gain = context.createGain();
    this.gain.gain.value = 0;
    context.createMediaElementSource(this.sound).connect(this.gain).connect(context.destination);
    this.mix();
  }

  follow(time) {
    const offset = this.sound.currentTime - time;
    this.sound.playbackRate = Math.abs(offset) < EXACT_S ? 1 : 1 - offset / CATCH_UP_S;
  }

  fail() {
    if (this.broken) return;
    this.broken = true;
    for (const control of [this.only, this.solo, this.mute, this.level]) control.disabled = true;
    this.links.append(make("small", { textContent: "This browser does not play this format." }));
  }

  remove() {
    this.broken = true;
    this.sound.pause();
    if (this.gain) this.gain.disconnect();
    this.wave.destroy();
    this.sound.removeAttribute("src"); // closes the connection
    this.sound.load();
    this.article.remove();
  }
}

class Player {
  constructor() {
    this.place = document.getElementById("sounds");
    this.button = document.getElementById("play");
    this.position = document.getElementById("position");
    this.rows = [];
    this.film = null; // the picture, of a video in which faces were found
    this.duration = 0;
    this.playing = false; // as the visitor wants it
    this.started = false; // all rows have started
    this.turn = 0; // of seeks and starts, so that one that is overtaken gives up
    this.time = 0; // where it stands, or starts
    this.button.addEventListener("click", () => this.playOrPause());
    this.position.addEventListener("input", () => this.seek(this.position.valueAsNumber * this.duration));
    this.position.addEventListener("keydown", (event) => this.step(event));
    document.addEventListener("keydown", (event) => this.space(event));
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.rows.forEach((row) => row.wave.setOptions(row.colours())));
    setInterval(() => this.check(), CHECK_MS);
  }

  show(rows, duration) {
    this.clear();
    this.duration = duration;
    const loudest = Math.max(1e-4, ...rows.flatMap((row) => row.peaks));
    this.rows = rows.map((row) => new Row(this, row, 1 / loudest, duration));
    this.seek(0);
    this.mix();
  }

  clear() {
    this.pause();
    for (const each of this.all) each.remove();
    this.rows = [];
    this.film = null;
  }

  get all() {
    return this.film ? [...this.rows, this.film] : this.rows;
  }

  get clock() {
    return this.rows.find((row) => !row.broken);
  }

  mix() {
    for (const row of this.rows) row.mix();
    this.film?.tell();
    this.tell();
  }

  tell() {
    const time = Math.min(this.time, this.duration);
    const alone = this.rows.filter((row) => row.soloed);
    this.button.setAttribute("aria-pressed", this.playing);
    document.getElementById("play-text").textContent = this.playing ? "Pause" : "Play";
    for (const row of this.rows) {
      const plays = this.playing && alone.length === 1 && row.soloed;
      row.only.setAttribute("aria-pressed", plays);
    }
    document.getElementById("clock").textContent = `${minutes(time)} / ${minutes(this.duration)}`;
    this.position.value = this.duration ? time / this.duration : 0;
    this.position.setAttribute("aria-valuetext", `${minutes(time)} of ${minutes(this.duration)}`);
  }

  toggle(row, what, opposite) {
    row[what] = !row[what];
    if (row[what]) row[opposite] = false;
    this.mix();
  }

  playOnly(row) {
    if (row.only.getAttribute("aria-pressed") === "true") {
      this.pause();
      return;
    }
    for (const other of this.rows) other.soloed = other === row;
    row.muted = false;
    this.mix();
    if (!this.playing) this.play();
  }

  playOrPause() {
    if (this.playing) this.pause();
    else this.play();
  }

  // Start all rows together from where it stands; also when one has fallen behind or has run dry.
  async play() {
    if (!this.clock) return;
    if (this.time >= this.duration - 0.05) this.time = 0;
    const turn = ++this.turn;
    this.playing = true;
    this.started = false;
    this.tell();
    this.context ??= new AudioContext();
    for (const row of this.rows) row.connect(this.context);
    await Promise.all([this.context.resume(), ...this.all.map((each) => each.prepare(this.time))]);
    if (turn !== this.turn) return;
    // One that has no sound left, or is stopped by the next turn, does not start.
    await Promise.all(
      this.all.map((each) => each.isAtEnd || each.broken || each.sound.play().catch(() => {})),
    );
    if (turn === this.turn) this.started = true;
  }

  pause() {
    this.turn += 1;
    if (this.started && this.clock) this.time = this.clock.sound.currentTime;
    this.playing = this.started = false;
    for (const each of this.all) each.prepare(this.time);
    this.tell();
  }

  seek(time) {
    this.time = Math.max(0, Math.min(time, this.duration));
    if (this.playing) {
      this.play();
      return;
    }
    for (const each of this.all) each.prepare(this.time);
    this.tell();
  }

  starve(row) {
    if (this.started && !row.sound.seeking && !row.isAtEnd) this.again();
  }

  again() {
    this.time = this.clock.sound.currentTime;
    this.play();
  }

  check() {
    if (!this.started || !this.clock) return;
    const clock = this.clock.sound;
    this.time = clock.currentTime;
    if (clock.ended) {
      this.time = this.duration;
      this.pauseAtEnd();
    } else if (clock.paused) {
      this.pause(); // by the browser, a headset or the system
    } else {
      const others = this.rows.filter((row) => row !== this.clock && !row.broken && !row.isAtEnd);
      if (others.some((row) => Math.abs(row.sound.currentTime - clock.currentTime) > APART_S)) this.again();
      else for (const row of others) row.follow(clock.currentTime);
      if (this.film && !this.film.broken && !this.film.isAtEnd) this.film.follow(clock.currentTime);
    }
    this.tell();
  }

  pauseAtEnd() {
    this.turn += 1;
    this.playing = this.started = false;
    for (const each of this.all) each.sound.pause();
  }

  step(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const seconds = Math.min(5, this.duration / 20); // a twentieth of what is short
    this.seek(this.time + steps[event.key] * seconds);
  }

  space(event) {
    const used = "button, a, summary, select, textarea, audio, input:not([type=range])";
    if (event.key !== " " || event.repeat || !this.rows.length || event.target.closest(used)) return;
    event.preventDefault();
    this.playOrPause();
  }
}
