#!/bin/sh
# Makes the clips that the simulated cameras loop. `make testdata` calls it. The files are
# in the repository, so that nobody needs ffmpeg with x264 and x265 to run the cameras; one
# encoder thread and bit-exact flags make the same encoder version give the same bytes.
#
# Video: 25 frames a second, a key frame every second, MP4 because it keeps the order of
# output beside the order of decoding. G.711: raw, 8 kHz, one byte a sample.
# $exact is several options:
# shellcheck disable=SC2086
set -eu
cd "$(dirname "$0")"

run() { ffmpeg -hide_banner -loglevel error -y -nostdin -threads 1 "$@"; }
exact="-fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1 -movflags +faststart"
gop="keyint=25:min-keyint=25:scenecut=0:threads=1"
src() { echo "testsrc2=size=$1:rate=25:duration=$2"; }

h264() { # file, size, seconds, x264 parameters
	run -f lavfi -i "$(src "$2" "$3")" -an -c:v libx264 -profile:v high -preset medium -crf 29 \
		-pix_fmt yuv420p -x264-params "$4" $exact "$1"
}
h264 h264.mp4 640x360 4 "$gop:bframes=0"
h264 h264b.mp4 640x360 4 "$gop:bframes=3:b-adapt=0:b-pyramid=normal:open-gop=0:slices=2:aud=1"
h264 h264alt.mp4 480x272 4 "$gop:bframes=0"
# One key frame in 32 s, from a calm picture.
run -f lavfi -i "testsrc=size=160x120:rate=25:duration=32" -an -c:v libx264 -profile:v high -preset medium -crf 34 \
	-pix_fmt yuv420p -x264-params "keyint=infinite:scenecut=0:threads=1:bframes=0" $exact h264long.mp4

h265() { # file, x265 parameters
	run -f lavfi -i "$(src 640x360 4)" -an -c:v libx265 -preset medium -crf 31 -pix_fmt yuv420p -tag:v hvc1 \
		-x265-params "log-level=error:keyint=25:min-keyint=25:scenecut=0:bframes=3:b-adapt=0:pools=1:frame-threads=1:wpp=0:info=0:$1" $exact "$2"
}
h265 open-gop=0 h265.mp4
h265 open-gop=1 h265open.mp4

# RFC 2435 knows neither optimised Huffman tables nor 4:4:4.
run -f lavfi -i "$(src 176x144 2)" -an -c:v mjpeg -huffman default -q:v 8 -pix_fmt yuvj420p $exact mjpeg.mp4

run -f lavfi -i "sine=frequency=440:sample_rate=48000:duration=4" -vn -ac 1 -c:a aac -b:a 48k $exact aac.mp4
run -f lavfi -i "sine=frequency=440:sample_rate=8000:duration=4" -vn -ac 1 -c:a pcm_alaw -f alaw g711.alaw
run -f lavfi -i "sine=frequency=440:sample_rate=8000:duration=4" -vn -ac 1 -c:a pcm_mulaw -f mulaw g711.ulaw

ls -l ./*.mp4 ./*.?law
