"use strict";
// A video in step with the rows, and a box over each face in it: a click on one plays that voice alone, on a
// second one that too.
const FILM_EXACT_S = 0.02; // half a picture; what is so close to the clock is left alone

class Film extends Follower {
  constructor(player, address, base, seen, run) {
    super(at("film"));
    this.player = player;
    this.seen = seen;
    this.sound.src = address;
    at("stage").style.aspectRatio = `${seen.width} / ${seen.height}`;
    at("stage").style.width = `min(100%, 60vh * ${seen.width / seen.height})`;
    this.boxes = seen.faces.map((face) => this.choice(face, { className: "box", tabIndex: -1 }));
    this.choices = seen.faces.map((face) => {
      const picture = make("img", { src: `${base}/files/${face.thumbnail}?run=${run}`, alt: "" });
      return this.choice(face, { className: "face" }, picture, this.row(face).label);
    });
    at("boxes").replaceChildren(...this.boxes);
    at("each-face").replaceChildren(...this.choices);
    at("all-voices").onclick = () => this.choose(null);
    this.sound.onclick = () => player.playOrPause();
    this.sound.onerror = () => this.fail();
    this.sound.onloadedmetadata = () => this.sound.videoWidth || this.fail(); // its sound alone can be played
    at("unplayable").hidden = true;
    at("stage").hidden = at("seen").hidden = false;
    this.draw();
  }

  row(face) {
    return this.player.rows.find((row) => row.id === face.name);
  }

  choice(face, properties, ...children) {
    const { label, colour } = this.row(face);
    const title = `Hear ${label}`;
    const made = make("button", { type: "button", title, "aria-label": title, ...properties }, ...children);
    made.classList.add(colour);
    made.addEventListener("click", () => this.choose(face));
    return made;
  }

  // Hear one more face, or one less; null: everything.
  choose(face) {
    const chosen = face && this.row(face);
    for (const row of this.player.rows) {
      if (!chosen || !this.seen.faces.some(({ name }) => name === row.id)) row.soloed = false;
    }
    if (chosen) this.player.toggle(chosen, "soloed", "muted");
    else this.player.mix();
    if (chosen?.soloed && !this.player.playing) this.player.play();
  }

  // Say which faces are heard.
  tell() {
    const heard = this.seen.faces.map((face) => this.row(face).soloed);
    for (const buttons of [this.boxes, this.choices]) {
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", heard[k]));
    }
    at("all-voices").setAttribute("aria-pressed", !this.player.rows.some((row) => row.soloed));
  }

  // Put the boxes where the faces are at this time, picture by picture.
  draw() {
    this.seen.faces.forEach((face, k) => {
      const box = boxAt(face.boxes, this.seen.rate, this.sound.currentTime);
      this.boxes[k].hidden = !box;
      if (!box) return;
      const [left, top, right, bottom] = box.map((share) => 100 * share);
      Object.assign(this.boxes[k].style, {
        left: `${left}%`,
        top: `${top}%`,
        width: `${right - left}%`,
        height: `${bottom - top}%`,
      });
    });
    this.drawing = requestAnimationFrame(() => this.draw());
  }

  follow(time) {
    const offset = this.sound.currentTime - time;
    if (this.sound.seeking) return;
    if (Math.abs(offset) > APART_S) this.sound.currentTime = time; // the sound goes on meanwhile
    else this.sound.playbackRate = Math.abs(offset) < FILM_EXACT_S ? 1 : 1 - offset / CATCH_UP_S;
  }

  fail() {
    this.broken = true;
    at("stage").hidden = true;
    at("unplayable").hidden = false;
  }

  remove() {
    this.broken = true;
    cancelAnimationFrame(this.drawing);
    this.sound.onerror = this.sound.onloadedmetadata = null;
    this.sound.pause();
    this.sound.removeAttribute("src"); // closes the connection
    this.sound.load();
    at("seen").hidden = true;
  }
}

// Where a face is: between two boxes of one shot it moves evenly.
function boxAt(boxes, rate, time) {
  const place = Math.max(0, Math.min(time * rate, boxes.length - 1));
  const k = Math.floor(place);
  const part = place - k;
  const [before, after] = [boxes[k], boxes[k + 1]];
  const near = before && after && Math.abs(before[0] - after[0]) < (before[2] - before[0]) / 2;
  if (near) return before.map((edge, i) => edge + part * (after[i] - edge));
  return part < 0.5 ? before : after;
}
