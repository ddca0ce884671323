// Plays a file in Chromium and prints what it found.
// config: {file, type}
import { readFileSync } from 'node:fs';
import { run } from './browser.mjs';

await run(async (open, config) => {
  const page = await open('player');
  const url = `data:${config.type};base64,${readFileSync(config.file).toString('base64')}`;
  return page.evaluate(async (url) => {
    const video = document.createElement('video');
    video.muted = true;
    video.src = url;
    document.body.append(video);
    const ended = new Promise((resolve, reject) => {
      video.onended = resolve;
      video.onerror = () => reject(new Error(`the file does not play: ${video.error.message}`));
    });
    await video.play();
    await ended;
    return {
      seconds: video.duration,
      width: video.videoWidth,
      height: video.videoHeight,
      frames: video.getVideoPlaybackQuality().totalVideoFrames,
      audioBytes: video.webkitAudioDecodedByteCount,
    };
  }, url);
});
