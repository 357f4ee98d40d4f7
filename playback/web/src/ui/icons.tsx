import type { JSX } from "preact";

// Icons are drawn on a grid of 16, with lines of 1.5.
const PATHS = {
  play: <path d="M4.5 2.8v10.4L13 8z" fill="currentColor" stroke="none" />,
  pause: <path d="M4 3h3v10H4zM9 3h3v10H9z" fill="currentColor" stroke="none" />,
  stepBack: <path d="M11.5 3.5 6 8l5.5 4.5zM4 3.5v9" />,
  stepOn: <path d="M4.5 3.5 10 8l-5.5 4.5zM12 3.5v9" />,
  gapBack: <path d="M14 4 9.5 8 14 12M6.5 4 2 8l4.5 4" />,
  gapOn: <path d="m2 4 4.5 4L2 12M9.5 4 14 8l-4.5 4" />,
  live: (
    <>
      <circle cx="8" cy="8" r="2.2" fill="currentColor" stroke="none" />
      <path d="M4.5 4.5a5 5 0 0 0 0 7M11.5 4.5a5 5 0 0 1 0 7" />
    </>
  ),
  full: <path d="M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10" />,
  sound: <path d="M2.5 6v4H5l3.5 3V3L5 6zM11 5.5a3.5 3.5 0 0 1 0 5M12.8 3.5a6.3 6.3 0 0 1 0 9" />,
  mute: <path d="M2.5 6v4H5l3.5 3V3L5 6zM11 6l3.5 4M14.5 6 11 10" />,
  link: <path d="M6.5 9.5 9.5 6.5M7 4.5 8.6 3a3.1 3.1 0 0 1 4.4 4.4L11.5 9M9 11.5 7.4 13A3.1 3.1 0 0 1 3 8.6L4.5 7" />,
  lock: (
    <>
      <rect x="3" y="7" width="10" height="6.5" rx="1.2" />
      <path d="M5 7V5a3 3 0 0 1 6 0v2" />
    </>
  ),
  down: <path d="M8 2.5v8M4.5 7.5 8 11l3.5-3.5M3 13.5h10" />,
  grid: <path d="M2.5 2.5h4.5V7H2.5zM9 2.5h4.5V7H9zM2.5 9h4.5v4.5H2.5zM9 9h4.5v4.5H9z" />,
  server: (
    <>
      <rect x="2.5" y="2.5" width="11" height="4.5" rx="1" />
      <rect x="2.5" y="9" width="11" height="4.5" rx="1" />
      <path d="M5 4.75h.01M5 11.25h.01M8.5 4.75H11M8.5 11.25H11" />
    </>
  ),
  sun: (
    <>
      <circle cx="8" cy="8" r="2.8" />
      <path d="M8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M12.6 3.4l-1.1 1.1M4.5 11.5l-1.1 1.1" />
    </>
  ),
  moon: <path d="M13.2 9.6A5.7 5.7 0 1 1 6.4 2.8a4.6 4.6 0 0 0 6.8 6.8z" />,
  help: (
    <>
      <circle cx="8" cy="8" r="6" />
      <path d="M6.3 6.3a1.8 1.8 0 1 1 2.6 1.6c-.6.3-.9.7-.9 1.3M8 11.4h.01" />
    </>
  ),
  close: <path d="m4 4 8 8M12 4l-8 8" />,
  plus: <path d="M8 3v10M3 8h10" />,
  minus: <path d="M3 8h10" />,
  bell: (
    <path d="M8 2.2a3.7 3.7 0 0 0-3.7 3.7c0 3.4-1.6 4.6-1.6 4.6h10.6s-1.6-1.2-1.6-4.6A3.7 3.7 0 0 0 8 2.2zM6.8 12.8a1.3 1.3 0 0 0 2.4 0" />
  ),
  inMark: <path d="M10.5 3H6v10h4.5" />,
  outMark: <path d="M5.5 3H10v10H5.5" />,
  check: <path d="m3 8.5 3.3 3.3L13 5" />,
  clock: (
    <>
      <circle cx="8" cy="8" r="6" />
      <path d="M8 4.5V8l2.4 1.5" />
    </>
  ),
  panel: (
    <>
      <rect x="2" y="3" width="12" height="10" rx="1.2" />
      <path d="M10 3v10" />
    </>
  ),
  lanes: <path d="M2.5 4h11M2.5 8h7M11.5 8h2M2.5 12h4M8.5 12h5" />,
} satisfies Record<string, JSX.Element>;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {PATHS[name]}
    </svg>
  );
}
