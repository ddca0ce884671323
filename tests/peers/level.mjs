import { readFileSync } from 'node:fs';

// Root mean square of the 16-bit samples of a WAV file, 0..32767.
export function level(name, folder) {
  if (!name) return 0;
  const samples = readFileSync(`${folder}/${name}`).subarray(44);
  let sum = 0;
  for (let at = 0; at + 1 < samples.length; at += 2) sum += samples.readInt16LE(at) ** 2;
  return Math.sqrt(sum / Math.max(1, samples.length / 2));
}
