import { type Signal, signal, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { now } from "../api";
import { Group } from "../player/group";
import { Player } from "../player/player";
import type { Place } from "../place";
import { cameras as known, place, settle, trouble, zone } from "../state";
import { clock, date, HOUR } from "../time";
import { TimelineData } from "../timeline/data";
import { type Selection, TimelineView } from "../timeline/timeline";
import { around, clamp, type View } from "../timeline/view";
import { keys } from "./keys";
import { Side } from "./side";
import { CopyDots, Overlay, stateText } from "./tile";
import { Transport } from "./transport";

/** What the parts of the view share. */
export interface Session {
  cameras: string[];
  group: Group;
  data: Map<string, TimelineData>;
  view: Signal<View>;
  selection: Signal<Selection>;
  /** Lanes of the copies are shown. */
  open: Signal<boolean>;
  side: Signal<boolean>;
  goTo: Signal<boolean>;
  locking: Signal<boolean>;
  root: { current: HTMLElement | null };
}

const sideOpen = signal(true);
const lanesOpen = signal(true);

type WatchPlace = Extract<Place, { name: "watch" }>;

/** One camera, or several at the same moment, with their timelines. */
export function Watch({ at }: { at: WatchPlace }) {
  const cameras = at.cameras;
  const id = cameras.join("+");
  const view = useSignal<View>(clamp(around(at.at ?? now(), at.width ?? HOUR, at.at === undefined ? 0.8 : 0.5), now()));
  const selection = useSignal<Selection>(pick(at));
  const goTo = useSignal(false);
  const locking = useSignal(false);
  const root = useRef<HTMLElement>(null);
  const group = useMemo(() => new Group(), []);
  const data = useMemo(() => new Map(cameras.map((c) => [c, new TimelineData(c)])), [id]);
  const session: Session = {
    cameras,
    group,
    data,
    view,
    selection,
    open: lanesOpen,
    side: sideOpen,
    goTo,
    locking,
    root,
  };

  // The moment that the URL names is gone to when one comes here, and when the browser
  // goes back to it; what one does here only changes the URL.
  useMemo(() => {
    if (at.at !== undefined) group.seek(at.at);
  }, []);
  useEffect(() => {
    if (place.peek() !== at) return;
    if (at.at !== undefined && Math.abs((group.wall.peek() ?? 0) - at.at) > 1500) {
      group.seek(at.at);
      view.value = clamp(around(at.at, view.peek().end - view.peek().start), now());
    }
    if (at.from !== undefined || at.to !== undefined) selection.value = pick(at);
  }, [at]);

  useEffect(() => {
    document.title = `${cameras.join(", ")} · duet`;
    const tell = (): void => {
      const p: WatchPlace = { name: "watch", cameras };
      const wall = group.wall.peek();
      if (!group.live.peek() && wall !== undefined) p.at = wall;
      const width = view.peek().end - view.peek().start;
      if (Math.abs(width - HOUR) > 1) p.width = width;
      const s = selection.peek();
      if (s.from !== undefined) p.from = s.from;
      if (s.to !== undefined) p.to = s.to;
      if (location.pathname.startsWith("/watch/")) settle(p);
    };
    const timer = window.setInterval(tell, 1000);
    const stops = [group.playing.subscribe(tell), group.live.subscribe(tell), selection.subscribe(tell)];
    return () => {
      window.clearInterval(timer);
      for (const s of stops) s();
    };
  }, [id]);

  useEffect(() => {
    const stop = known.subscribe((list) => {
      for (const [name, d] of data) d.know(list?.find((c) => c.name === name));
    });
    return () => {
      stop();
      for (const d of data.values()) d.close();
    };
  }, [data]);

  useEffect(() => () => group.destroy(), [group]);
  useEffect(() => keys(session), [id]);

  const unknown = known.value && cameras.filter((c) => !known.value!.some((k) => k.name === c));
  return (
    <main class={`watch ${sideOpen.value ? "with-side" : ""}`} id="main" ref={root}>
      <h1 class="hidden">{cameras.join(", ")}</h1>
      <section class={`stages n${cameras.length}`} aria-label="Video">
        {cameras.map((c) => (
          <Stage key={c} camera={c} session={session} />
        ))}
      </section>
      <Transport session={session} />
      <section class="timeline" aria-label="Timeline">
        <TimelineView
          cameras={cameras}
          data={data}
          group={group}
          view={view}
          selection={selection}
          open={lanesOpen.value}
        />
        <Trouble data={data} />
      </section>
      {sideOpen.value && <Side session={session} />}
      {unknown && unknown.length > 0 && !trouble.value && (
        <p class="note bad" role="alert">
          No camera is called {unknown.join(", ")}.
        </p>
      )}
    </main>
  );
}

function pick(at: WatchPlace): Selection {
  const s: Selection = {};
  if (at.from !== undefined) s.from = at.from;
  if (at.to !== undefined) s.to = at.to;
  return s;
}

function Trouble({ data }: { data: Map<string, TimelineData> }) {
  const said = [...data.values()].map((d) => d.error.value).find((e) => e);
  return said ? (
    <p class="tl-error" role="status">
      {said}
    </p>
  ) : null;
}

function Stage({ camera, session }: { camera: string; session: Session }) {
  const ref = useRef<HTMLVideoElement>(null);
  const player = useSignal<Player | undefined>(undefined);
  useEffect(() => {
    const p = new Player(camera, ref.current!);
    player.value = p;
    const leave = session.group.add(p);
    return () => {
      leave();
      p.destroy();
    };
  }, [camera]);
  const c = known.value?.find((k) => k.name === camera);
  const status = player.value?.status.value ?? "empty";
  const waits = session.group.waiting.value.has(camera);
  const live = player.value?.live.value ?? false;
  return (
    <figure class={`stage ${status}`} data-camera={camera} data-status={status}>
      {/* biome-ignore lint/a11y/useMediaCaption: cameras have no captions */}
      <video
        ref={ref}
        aria-label={`Video of ${camera}`}
        tabIndex={-1}
        onClick={() => session.group.toggle()}
        playsInline
      />
      {player.value?.still.value && <img class="still" src={player.value.still.value} alt={camera} />}
      <figcaption>
        <span class="stage-name">
          {c && <i class={`dot ${c.state === "live" ? "good" : c.state === "connecting" ? "warn" : "bad"}`} />}
          {camera}
          {c && <CopyDots camera={c} />}
        </span>
        {live && <span class="badge live">live</span>}
        {player.value?.still.value && (
          <span class="badge" title="This browser does not play the camera’s format. An export has it unchanged.">
            single pictures
          </span>
        )}
        {c && live && c.state !== "live" && <span class="badge bad">{stateText(c)}</span>}
        <span class="grow" />
        <StageTime session={session} player={player} />
      </figcaption>
      {waits ? (
        <div class="overlay">no footage here; goes on later</div>
      ) : (
        status !== "playing" && <Overlay status={status} message={player.value?.message.value ?? ""} />
      )}
    </figure>
  );
}

function StageTime({ session, player }: { session: Session; player: Signal<Player | undefined> }) {
  session.group.wall.value;
  const wall = player.value?.wall();
  if (wall === undefined) return null;
  return (
    <time class="stage-time" dateTime={new Date(wall).toISOString()}>
      <span>{date(zone.value, wall)}</span> {clock(zone.value, wall, 1)}
    </time>
  );
}
