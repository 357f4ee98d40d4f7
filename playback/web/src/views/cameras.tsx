import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import type { Camera } from "../api";
import { MOST } from "../place";
import { cameras, go, tileSize, trouble } from "../state";
import { Icon } from "../ui/icons";
import { IconButton, Link } from "../ui/parts";
import { CopyDots, LivePicture, stateText, TileTime } from "./tile";

const picked = signal<string[]>([]);

/** All cameras, live. */
export function Cameras() {
  useEffect(() => {
    document.title = "Cameras · duet";
  }, []);
  const list = cameras.value;
  const [filter, setFilter] = useState("");
  const shown = (list ?? []).filter((c) => c.name.toLowerCase().includes(filter.trim().toLowerCase()));
  const live = (list ?? []).filter((c) => c.state === "live").length;
  return (
    <main class="cameras" id="main">
      <div class="bar">
        <h1>Cameras</h1>
        {list && (
          <span class="dim">
            {live} of {list.length} live
          </span>
        )}
        <div class="grow" />
        {(list?.length ?? 0) > 6 && (
          <input
            class="filter"
            type="search"
            placeholder="Filter"
            aria-label="Filter cameras by name"
            value={filter}
            onInput={(e) => setFilter(e.currentTarget.value)}
          />
        )}
        {picked.value.length > 0 && (
          <>
            <button
              type="button"
              class="primary"
              onClick={() => {
                const p = picked.value;
                picked.value = [];
                go({ name: "watch", cameras: p });
              }}
            >
              Watch {picked.value.length} together
            </button>
            <IconButton icon="close" label="Choose none" onClick={() => (picked.value = [])} />
          </>
        )}
        <div class="seg" role="group" aria-label="Size of pictures">
          {(["s", "m", "l"] as const).map((s) => (
            <button
              type="button"
              key={s}
              aria-pressed={tileSize.value === s}
              aria-label={{ s: "Small pictures", m: "Medium pictures", l: "Large pictures" }[s]}
              onClick={() => (tileSize.value = s)}
            >
              {s.toUpperCase()}
            </button>
          ))}
        </div>
      </div>
      {!list && !trouble.value && <p class="empty">Asking playback…</p>}
      {!list && trouble.value && <p class="empty bad">{trouble.value} It is asked again every 2 s.</p>}
      {list?.length === 0 && <p class="empty">No camera is configured: duet.yaml lists them under “cameras”.</p>}
      {list && list.length > 0 && shown.length === 0 && <p class="empty">No camera’s name has “{filter}” in it.</p>}
      <ul class={`grid ${tileSize.value}`}>
        {shown.map((c) => (
          <Tile key={c.name} camera={c} />
        ))}
      </ul>
    </main>
  );
}

function Tile({ camera }: { camera: Camera }) {
  const [wall, setWall] = useState<number>();
  const chosen = picked.value.includes(camera.name);
  return (
    <li class={`tile ${chosen ? "chosen" : ""}`}>
      <Link to={{ name: "watch", cameras: [camera.name] }} class="tile-link">
        <span class="hidden">
          {camera.name}, {stateText(camera)}
        </span>
        <LivePicture camera={camera.name} onWall={setWall} />
      </Link>
      <div class="tile-bar">
        <i class={`dot ${camera.state === "live" ? "good" : camera.state === "connecting" ? "warn" : "bad"}`} />
        <b>{camera.name}</b>
        {camera.state !== "live" && <span class="why">{stateText(camera)}</span>}
        <span class="grow" />
        <TileTime wall={wall} camera={camera} />
        <CopyDots camera={camera} />
        <button
          type="button"
          class="pick"
          aria-pressed={chosen}
          aria-label={`Choose ${camera.name}, to watch several together`}
          title="Choose, to watch several together"
          disabled={!chosen && picked.value.length >= MOST}
          onClick={() => {
            picked.value = chosen ? picked.value.filter((x) => x !== camera.name) : [...picked.value, camera.name];
          }}
        >
          <Icon name={chosen ? "check" : "plus"} />
        </button>
      </div>
    </li>
  );
}
