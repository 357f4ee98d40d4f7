"""RTSP cameras that share no code with duet: GStreamer's encoders, payloaders and server.

    gstcamera.py LEDGER_DIR

Prints one line of JSON when it serves: {"cameras": [{"name", "url", "ledger"}, ...]}.
Ends when its standard input is closed.

Each camera keeps a ledger in the form of package bench/ledger. A probe in front of the
payloader hashes the access units; the payloader may insert parameter sets and drop
delimiters after it, so the hash of H.264 and H.265 covers the coded slices alone
("vclOnly"). The access units carry no number and are known by their hash ("unmarked"):
noise as picture and sound makes no two of them equal. Nothing is produced, and nothing
booked, while a camera has no client.
"""

import hashlib
import json
import os
import struct
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

H264 = (
    "videotestsrc is-live=true pattern=snow ! video/x-raw,width=320,height=240,framerate=25/1,format=I420 "
    "! x264enc threads=1 speed-preset=superfast bitrate=600 bframes=2 b-adapt=false key-int-max=25 "
    "option-string=scenecut=0:rc-lookahead=4:sync-lookahead=0 "
    "! video/x-h264,stream-format=byte-stream,alignment=au,profile=high "
    "! rtph264pay name=pay{0} pt=96 config-interval=-1 "
)
H265 = (
    "videotestsrc is-live=true pattern=snow ! video/x-raw,width=320,height=240,framerate=25/1,format=I420 "
    "! x265enc speed-preset=ultrafast bitrate=600 key-int-max=25 "
    "option-string=bframes=2:b-adapt=0:scenecut=0:rc-lookahead=4:open-gop=0:pools=1:frame-threads=1:wpp=0:log-level=0 "
    "! video/x-h265,stream-format=byte-stream,alignment=au "
    "! rtph265pay name=pay{0} pt=96 config-interval=-1 "
)
AAC = (
    "audiotestsrc is-live=true wave=white-noise volume=0.1 ! audio/x-raw,rate=48000,channels=1 ! audioconvert "
    "! {1} ! audio/mpeg,mpegversion=4,stream-format=raw ! rtpmp4gpay name=pay{0} pt=97 "
)


def nal_units(data):
    """Splits a byte stream (H.264 annex B, H.265 annex B) into its NAL units."""
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        end = data.find(b"\x00\x00\x01", at + 3)
        nal = data[at + 3 : end if end >= 0 else len(data)].rstrip(b"\x00")
        if nal:
            yield nal
        at = end


def is_vcl(codec, nal):
    if codec == "h265":
        return nal[0] >> 1 & 0x3F < 32
    return 1 <= nal[0] & 0x1F <= 5


def is_key(codec, nal):
    if codec == "h265":
        return 16 <= nal[0] >> 1 & 0x3F <= 21
    return nal[0] & 0x1F == 5


class Ledger:
    def __init__(self, directory, name, tracks):
        self.path = os.path.join(directory, name + ".jsonl")
        self.file = open(self.path, "x", buffering=1, encoding="ascii")
        self.tracks = tracks
        self.numbers = [0] * len(tracks)
        self.write(
            {
                "ledger": 1,
                "camera": name,
                "tracks": [{"codec": c, "clockRate": r} for c, r in tracks],
                "vclOnly": True,
                "unmarked": True,
            }
        )

    def write(self, entry):
        self.file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def book(self, track, data):
        codec = self.tracks[track][0]
        key = True
        if codec in ("h264", "h265"):
            vcl = [n for n in nal_units(data) if is_vcl(codec, n)]
            key = any(is_key(codec, n) for n in vcl)
            data = b"".join(struct.pack(">I", len(n)) + n for n in vcl)
        entry = {
            "t": track,
            "n": self.numbers[track],
            "h": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "at": time.time_ns(),
            "rtp": 0,
            "sent": ["gst"],
        }
        if key:
            entry["key"] = True
        self.numbers[track] += 1
        self.write(entry)


def probe(_pad, info, ledger, track):
    buffer = info.get_buffer()
    ok, mapped = buffer.map(Gst.MapFlags.READ)
    if ok:
        try:
            ledger.book(track, bytes(mapped.data))
        finally:
            buffer.unmap(mapped)
    return Gst.PadProbeReturn.OK


def configure(_factory, media, ledger):
    for track in range(len(ledger.tracks)):
        pay = media.get_element().get_by_name("pay%d" % track)
        pay.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, probe, ledger, track)


def main():
    directory = sys.argv[1]
    Gst.init(None)
    aac = next((e for e in ("fdkaacenc", "voaacenc", "avenc_aac") if Gst.ElementFactory.find(e)), None)
    cameras = [
        ("gst-h264b", H264.format(0), [("h264", 90000)]),
        ("gst-h265", H265.format(0), [("h265", 90000)]),
    ]
    if aac:
        cameras.append(
            ("gst-h264b-aac", H264.format(0) + AAC.format(1, aac), [("h264", 90000), ("aac", 48000)])
        )
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    out = []
    for name, launch, tracks in cameras:
        ledger = Ledger(directory, name, tracks)
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch("( " + launch + ")")
        factory.set_shared(True)
        factory.connect("media-configure", configure, ledger)
        server.get_mount_points().add_factory("/" + name, factory)
        out.append((name, ledger.path))
    server.attach(None)
    port = server.get_bound_port()
    print(
        json.dumps(
            {
                "cameras": [
                    {"name": n, "url": "rtsp://127.0.0.1:%d/%s" % (port, n), "ledger": p} for n, p in out
                ]
            }
        ),
        flush=True,
    )
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_HUP | GLib.IO_IN, lambda *_: loop.quit())
    loop.run()
    # The pipelines of clients that are connected end with the process.
    sys.stdout.flush()
    os._exit(0)


main()
