import { defineConfig } from "vite";

// The build is a function of the sources and the lock file: no source maps, no dates.
export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    outDir: "dist/page",
    emptyOutDir: true,
    target: ["chrome107", "firefox110", "safari16"],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 600,
    rollupOptions: { output: { manualChunks: { hls: ["hls.js/light"] } } },
  },
  // `npm run dev` shows changes at once, with the API of a running demo.
  server: { proxy: { "/v1": "http://127.0.0.1:8080" } },
});
