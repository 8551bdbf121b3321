// Which scene the video shows at the place where it is: its prompt stands below the video.

import { tell } from "/page/dom.js";

const MOST = 200; // scenes that are known; nobody goes back further

export class Caption {
  constructor(video) {
    this.video = video;
    video.addEventListener("timeupdate", () => this.show());
    this.reset("", 1);
  }

  // `all` is how many scenes there will be; null for a video without an end.
  reset(prompt, all) {
    this.all = all;
    this.scenes = [{ number: 1, chunk: 0, start: 0, prompt }];
    this.show();
  }

  begun(event) {
    this.scenes.push({ number: event.scene + 1, chunk: event.chunk, start: Infinity, prompt: event.prompt });
    if (this.scenes.length > MOST) this.scenes.shift();
  }

  // A piece of the video; the seconds at which it begins a scene, null where it begins none.
  piece(event) {
    const scene = this.scenes.find(({ chunk }) => chunk > 0 && chunk === event.chunk);
    if (!scene) return null;
    scene.start = event.start;
    return event.start;
  }

  show() {
    const scene = this.scenes.findLast(({ start }) => start <= this.video.currentTime) ?? this.scenes[0];
    const which = `Scene ${scene.number}${this.all ? ` of ${this.all}` : ""}`;
    tell("scene-number", this.all === 1 ? "" : which);
    tell("scene-prompt", scene.prompt);
  }
}
