import { render } from "preact";
import { useEffect } from "preact/hooks";
import "./style.css";
import { cameras, go, MOST_KEYS, place, theme, trouble, watchSite, zone } from "./state";
import { systemZone } from "./time";
import { Help, helpOpen } from "./ui/help";
import { Jobs } from "./ui/jobs";
import { Link, Toasts } from "./ui/parts";
import { TopBar } from "./ui/topbar";
import { Cameras } from "./views/cameras";
import { busy } from "./views/keys";
import { Locks } from "./views/locks";
import { Recorders } from "./views/recorders";
import { Watch } from "./views/watch";

function App() {
  useEffect(() => {
    const on = (e: KeyboardEvent): void => {
      if (busy(e)) return;
      const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
      if (key === "?") helpOpen.value = true;
      else if (key === "t") theme.value = theme.value === "dark" ? "light" : "dark";
      else if (key === "u") zone.value = zone.value === "UTC" ? systemZone() : "UTC";
      else if (key === "Escape" && (place.value.name === "recorders" || place.value.name === "locks"))
        go({ name: "cameras" });
      else if (MOST_KEYS.includes(key) && !e.shiftKey && !e.altKey) {
        const c = cameras.value?.[Number(key) - 1];
        if (c) go({ name: "watch", cameras: [c.name] });
      } else return;
      e.preventDefault();
    };
    window.addEventListener("keydown", on);
    return () => window.removeEventListener("keydown", on);
  }, []);
  const p = place.value;
  return (
    <>
      <a class="skip" href="#main">
        To the content
      </a>
      <TopBar />
      {trouble.value && cameras.value && (
        <p class="banner bad" role="alert">
          {trouble.value} What is shown is what it said last.
        </p>
      )}
      {p.name === "cameras" && <Cameras />}
      {p.name === "watch" && <Watch key={p.cameras.join("+")} at={p} />}
      {p.name === "recorders" && <Recorders />}
      {p.name === "locks" && <Locks />}
      {p.name === "nowhere" && (
        <main class="page" id="main">
          <h1>There is nothing here</h1>
          <p>
            <Link to={{ name: "cameras" }}>All cameras</Link>
          </p>
        </main>
      )}
      <Jobs />
      <Toasts />
      <Help />
    </>
  );
}

watchSite();
const root = document.getElementById("app")!;
root.replaceChildren();
render(<App />, root);
