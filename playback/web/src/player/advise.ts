// How several players stay at the same moment. Pure.

/** What a player is told, to be where the others are. */
export type Advice = { kind: "run"; factor: number } | { kind: "hold" };

/** Apart by more than this, ms, is corrected by waiting or a jump; by less, by speed. */
const APART = 900;
const CLOSE = 25;

/**
 * advise says what each of several players does, from the moment that each one shows. The
 * one that is furthest back leads: who is ahead because of a gap waits for it, and who
 * stalls is waited for, so that a gap is jumped over only where all have one.
 */
export function advise(
  walls: (number | undefined)[],
  held: boolean[],
): { wall: number | undefined; advice: (Advice | undefined)[] } {
  const known = walls.filter((w) => w !== undefined);
  if (known.length === 0) return { wall: undefined, advice: walls.map(() => undefined) };
  const wall = Math.min(...known);
  const advice = walls.map((w, i): Advice | undefined => {
    if (w === undefined) return undefined;
    const ahead = w - wall;
    if (held[i] ? ahead > CLOSE : ahead > APART) return { kind: "hold" };
    return { kind: "run", factor: ahead > CLOSE ? Math.max(0.5, 1 - ahead / 1500) : 1 };
  });
  return { wall, advice };
}
