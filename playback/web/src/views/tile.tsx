import { useEffect, useRef, useState } from "preact/hooks";
import type { Camera } from "../api";
import { Player } from "../player/player";
import { present, zone } from "../state";
import { clock, duration } from "../time";

/** stateText says how a camera is, in words. */
export function stateText(c: Camera): string {
  switch (c.state) {
    case "live":
      return "live";
    case "connecting":
      return "connecting";
    case "stalled":
      return "sends nothing";
    case "failed":
      return c.error ? `not connected: ${c.error}` : "not connected";
    default:
      return c.error || "state unknown";
  }
}

export function CopyDots({ camera }: { camera: Camera }) {
  const text = `${camera.healthyCopies} of ${camera.wantedCopies} copies: ${camera.recorders
    .map(
      (r) =>
        `${r.recorder} ${r.state !== "up" ? "does not answer" : r.healthy ? "is recording" : r.standby ? "stands by" : "is not recording"}`,
    )
    .join(", ")}`;
  return (
    <span class="copies" role="img" aria-label={text} title={text}>
      {camera.recorders
        .filter((r) => r.role)
        .map((r) => (
          <i key={r.recorder} class={r.healthy ? "good" : r.standby ? "idle" : r.state === "up" ? "warn" : "bad"} />
        ))}
    </span>
  );
}

/** LivePicture plays a camera's live video while it can be seen. */
export function LivePicture({ camera, onWall }: { camera: string; onWall?: (wall: number | undefined) => void }) {
  const ref = useRef<HTMLVideoElement>(null);
  const [player, setPlayer] = useState<Player>();
  useEffect(() => {
    const v = ref.current!;
    let p: Player | undefined;
    let timer = 0;
    const start = (): void => {
      if (p) return;
      p = new Player(camera, v);
      setPlayer(p);
      p.goLive();
    };
    const stop = (): void => {
      p?.destroy();
      p = undefined;
      setPlayer(undefined);
    };
    const seen = new IntersectionObserver(
      (entries) => {
        window.clearTimeout(timer);
        if (entries.at(-1)!.isIntersecting) timer = window.setTimeout(start, 50);
        else timer = window.setTimeout(stop, 3000);
      },
      { rootMargin: "100px" },
    );
    seen.observe(v);
    const clockTimer = window.setInterval(() => onWall?.(p?.wall()), 500);
    return () => {
      seen.disconnect();
      window.clearTimeout(timer);
      window.clearInterval(clockTimer);
      stop();
    };
  }, [camera]);
  const status = player?.status.value ?? "empty";
  return (
    <>
      <video ref={ref} tabIndex={-1} aria-hidden="true" muted playsInline />
      {player?.still.value && <img class="still" src={player.still.value} alt="" />}
      {status !== "playing" && <Overlay status={status} message={player?.message.value ?? ""} />}
    </>
  );
}

export function Overlay({ status, message }: { status: string; message: string }) {
  if (status === "paused") return null;
  const busy = status === "loading" || status === "stalled" || status === "empty";
  return (
    <div class={`overlay ${status}`}>
      {busy ? <span class="spin" /> : null}
      {message || (status === "stalled" ? "waiting for video" : busy ? "" : "no picture")}
    </div>
  );
}

export function TileTime({ wall, camera }: { wall: number | undefined; camera: Camera }) {
  if (wall === undefined) return null;
  const late = present.value - wall;
  return (
    <time class="tile-time" dateTime={new Date(wall).toISOString()}>
      {clock(zone.value, wall)}
      {late > 30_000 && camera.state !== "live" ? ` · ${duration(late)} ago` : ""}
    </time>
  );
}
