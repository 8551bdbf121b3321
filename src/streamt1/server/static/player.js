// A video that grows: fragments go into a MediaSource, or, where there is none, into one file that is loaded again.

const Source = window.ManagedMediaSource ?? window.MediaSource;

export class Player {
  constructor(video) {
    this.video = video;
    this.reset();
  }

  reset() {
    if (this.address) URL.revokeObjectURL(this.address);
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    Object.assign(this, { address: null, source: null, buffer: null, queue: [], parts: [], ended: false, touched: false });
  }

  // The media type and the length that the video will have, in seconds; null where that is not known.
  open(type, length) {
    this.length = length;
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

  append(bytes) {
    this.parts.push(bytes);
    if (this.source) {
      this.queue.push(bytes);
      this.feed();
    } else if (this.parts.length > 1) {
      this.reload();
    }
  }

  feed() {
    if (!this.buffer || this.buffer.updating || this.source.readyState !== "open") return;
    if (this.queue.length) this.buffer.appendBuffer(this.queue.shift());
    else if (this.ended) this.source.endOfStream();
    if (this.video.paused && !this.touched && this.video.buffered.length) this.play();
  }

  // Without MediaSource: everything that has come so far as one file, from where the video was.
  reload() {
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
