import { signal } from "@preact/signals";
import { Dialog, Key } from "./parts";

export const helpOpen = signal(false);

const KEYS: [string, [string, string][]][] = [
  [
    "Playing",
    [
      ["Space", "play, pause"],
      [", .", "one picture back, on"],
      ["← →", "1 s back, on; with Shift 10 s, with Alt 1 min"],
      ["< >", "slower, faster"],
      ["P N", "last, next gap"],
      ["End", "live"],
      ["G", "go to a time"],
      ["M", "sound"],
      ["F", "full screen"],
    ],
  ],
  [
    "Timeline",
    [
      ["+ −", "zoom in, out"],
      ["0", "the whole day"],
      ["C", "playhead to the middle"],
      ["I O", "range begins, ends here"],
      ["E", "export the range"],
      ["K", "lock the range"],
      ["X", "no range"],
    ],
  ],
  [
    "Everywhere",
    [
      ["1 … 9", "open that camera; with Shift beside those that are open"],
      ["U", "time zone: UTC, local"],
      ["T", "dark, light"],
      ["Y", "copy a link to this moment"],
      ["S", "the panel at the side"],
      ["?", "this help"],
      ["Esc", "close; back to all cameras"],
    ],
  ],
];

export function Help() {
  if (!helpOpen.value) return null;
  return (
    <Dialog title="Keys" class="help" onClose={() => (helpOpen.value = false)}>
      <div class="help-in">
        {KEYS.map(([title, keys]) => (
          <section key={title}>
            <h3>{title}</h3>
            <dl>
              {keys.map(([k, what]) => (
                <div key={k}>
                  <dt>
                    {k.split(" ").map((x) => (
                      <Key key={x}>{x}</Key>
                    ))}
                  </dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>Mouse and touch on the timeline</h3>
          <dl class="wide">
            <div>
              <dt>Wheel, pinch</dt>
              <dd>zoom, from a minute to a month</dd>
            </div>
            <div>
              <dt>Drag the lanes</dt>
              <dd>move through time</dd>
            </div>
            <div>
              <dt>Drag the hours</dt>
              <dd>scrub</dd>
            </div>
            <div>
              <dt>Click</dt>
              <dd>play from there</dd>
            </div>
            <div>
              <dt>Shift and drag</dt>
              <dd>select a range</dd>
            </div>
          </dl>
        </section>
      </div>
    </Dialog>
  );
}
