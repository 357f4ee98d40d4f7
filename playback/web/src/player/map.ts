// Where a moment is in a playlist, and which moment a place in it is. Pure.

/** Frag is a fragment of a playlist: media time in seconds, capture time in ms. */
export interface Frag {
  start: number;
  duration: number;
  wall: number;
  gap: boolean;
}

/** wallAt is the capture time at a media time; frags are in order. */
export function wallAt(frags: Frag[], media: number): number | undefined {
  if (frags.length === 0) return undefined;
  let lo = 0;
  let hi = frags.length - 1;
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1;
    // A player may stand a little before a fragment that it shows the first picture of.
    if (frags[mid]!.start <= media + 0.001) lo = mid;
    else hi = mid - 1;
  }
  const f = frags[lo]!;
  return f.wall + (media - f.start) * 1000;
}

/**
 * mediaAt is where a moment is in a playlist; a moment of a gap is where footage goes on.
 * Undefined: it is not in it.
 */
export function mediaAt(frags: Frag[], wall: number): number | undefined {
  let lo = 0;
  let hi = frags.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    const f = frags[mid]!;
    if (f.wall + f.duration * 1000 > wall) hi = mid;
    else lo = mid + 1;
  }
  while (frags[lo]?.gap) lo++;
  const f = frags[lo];
  if (!f || (lo === 0 && wall < f.wall)) return undefined;
  return f.start + Math.max(0, wall - f.wall) / 1000;
}
