import { useEffect, useRef, useState } from "preact/hooks";
import { url } from "../api";

// Cameras of which no snapshot can be made (no decoder on the node) are not asked again.
const without = new Map<string, number>();

/**
 * Thumbnail is the key frame at or before a moment. Moments are rounded to what can be told
 * apart in a timeline of that width (ms), so that scrubbing to and fro asks once.
 */
export function Thumbnail({ camera, at, width }: { camera: string; at: number; width: number }) {
  const grain = Math.max(1000, width / 150);
  const moment = Math.floor(at / grain) * grain;
  const [src, setSrc] = useState<string>();
  const [shown, setShown] = useState(false);
  const timer = useRef(0);
  const last = useRef(0);
  useEffect(() => {
    window.clearTimeout(timer.current);
    const wait = Math.max(0, 90 - (performance.now() - last.current));
    timer.current = window.setTimeout(() => {
      last.current = performance.now();
      setSrc(url.snapshot(camera, moment, 240));
    }, wait);
    return () => window.clearTimeout(timer.current);
  }, [camera, moment]);
  if ((without.get(camera) ?? 0) > 4 || !src) return null;
  return (
    <img
      class={`thumb ${shown ? "" : "none"}`}
      src={src}
      alt=""
      width={240}
      height={135}
      onLoad={() => {
        without.set(camera, 0);
        setShown(true);
      }}
      onError={() => {
        without.set(camera, (without.get(camera) ?? 0) + 1);
        setShown(false);
      }}
    />
  );
}
