// A video that grows: fragments go into a MediaSource, or, where there is none, into one file that is loaded again.
//
// Of a long video little is held: what lies far behind the place that is shown is let go of, and what is made far
// ahead of it waits here. A live video keeps up with what is made, where that is asked for.

const Source = window.ManagedMediaSource ?? window.MediaSource;
const BEHIND = 120, SLACK = 20; // seconds behind the place that is shown; so many more before they are let go of
const AHEAD = 60; // seconds that are put in ahead of it
const LATE = 30, NEAR = 3, LEAD = 1; // seconds: too far behind, where to then, and what is shown before a new scene
const MOST = 32e6; // bytes that may wait in a live video; older ones are given up

export class Player {
  // `follows` tells whether a live video is to keep up.
  constructor(video, follows) {
    this.video = video;
    this.follows = follows;
    for (const event of ["timeupdate", "seeking", "waiting"]) video.addEventListener(event, () => this.shown(event));
    this.reset();
  }

  reset() {
    if (this.address) URL.revokeObjectURL(this.address);
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    Object.assign(this, { address: null, source: null, buffer: null, queue: [], parts: [], waits: 0, scene: null });
    Object.assign(this, { live: false, ended: false, touched: false });
  }

  // The media type and the length that the video will have, in seconds; null where that is not known.
  open(type, length, live) {
    Object.assign(this, { length, live });
    if (!Source?.isTypeSupported(type)) return;
    const source = new Source();
    this.source = source;
    this.video.disableRemotePlayback = true;
    this.address = this.video.src = URL.createObjectURL(source);
    source.addEventListener("sourceopen", () => {
      if (source !== this.source || this.buffer) return;
      if (this.length) source.duration = this.length;
      this.buffer = source.addSourceBuffer(type);
      this.buffer.addEventListener("updateend", () => this.feed());
      this.feed();
    });
  }

  // A video that is whole.
  file(address) {
    this.address = this.video.src = address;
  }

  append(bytes) {
    this.waits += bytes.byteLength;
    if (!this.source) return this.whole(bytes);
    this.queue.push(bytes);
    this.giveUp(this.queue, 0);
    this.feed();
  }

  // Where too much waits in a live video, the oldest is lost, but for so many pieces at the beginning.
  giveUp(pieces, kept) {
    while (this.live && this.waits > MOST && pieces.length > kept + 1) {
      this.waits -= pieces.splice(kept, 1)[0].byteLength;
    }
  }

  // A scene that somebody waits for begins at so many seconds; null where none does.
  awaits(start) {
    this.scene = start ?? this.scene;
  }

  feed() {
    if (!this.buffer || this.buffer.updating || this.source.readyState !== "open" || this.video.error) return;
    if (this.forget(BEHIND, SLACK)) return;
    if (this.queue.length && this.ahead < AHEAD) this.put();
    else if (this.ended && !this.queue.length) this.source.endOfStream();
    if (this.video.paused && !this.touched && this.video.buffered.length) this.play();
    this.keepUp();
  }

  // Seconds that are there to be shown.
  get ahead() {
    const { buffered, currentTime } = this.video;
    return buffered.length ? buffered.end(buffered.length - 1) - currentTime : 0;
  }

  put() {
    try {
      this.buffer.appendBuffer(this.queue[0]);
      this.waits -= this.queue.shift().byteLength;
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      this.forget(NEAR, 0); // the browser holds no more: this piece is put in when there is room
    }
  }

  // Lets go of what lies more than so many seconds behind; whether that has begun.
  forget(behind, slack) {
    const { buffered, currentTime } = this.video;
    if (!buffered.length || currentTime - buffered.start(0) <= behind + slack) return false;
    this.buffer.remove(0, currentTime - behind);
    return true;
  }

  shown(event) {
    if (!this.buffer) return;
    if (event !== "timeupdate") this.overGap();
    this.feed();
  }

  // To the next frames that are there, where those at this place are not and will not come.
  overGap() {
    const { buffered, currentTime } = this.video;
    for (let at = 0; at < buffered.length; at += 1) {
      if (buffered.end(at) > currentTime + 0.1) {
        if (buffered.start(at) > currentTime) this.video.currentTime = buffered.start(at);
        return;
      }
    }
  }

  // A live video that has fallen behind goes on near its end, or where a new scene begins.
  keepUp() {
    const { video, ahead } = this;
    if (!this.live || video.paused || video.seeking || !ahead || !this.follows()) return;
    const end = video.currentTime + ahead, waited = this.scene !== null && end > this.scene;
    const to = waited ? this.scene - LEAD : end - NEAR;
    if (waited ? to - video.currentTime > NEAR : ahead > LATE) video.currentTime = to;
    if (waited) this.scene = null;
  }

  // Without MediaSource: everything that has come so far as one file, from where the video was.
  whole(bytes) {
    this.parts.push(bytes);
    this.giveUp(this.parts, 1); // the header stays
    if (this.parts.length < 2) return;
    const at = this.video.currentTime;
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = this.video.src = URL.createObjectURL(new Blob(this.parts, { type: "video/mp4" }));
    this.video.currentTime = at;
    this.play();
  }

  play() {
    this.touched = true;
    this.video.play().catch(() => {});
  }

  end() {
    this.ended = true;
    this.feed();
  }
}
