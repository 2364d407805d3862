#!/usr/bin/env bash
# Makes the clips that the demo's two participants play: two seconds that loop
# without a seam, a keyframe every half second, and a flash with a beep at 0.5 s
# and 1.5 s, so that sync can be seen and heard. Needs ffmpeg with libvpx,
# libvpx-vp9, libopus and drawtext. Nothing but the four files is written.
set -euo pipefail
cd "$(dirname "$0")"

size=480x270 rate=30 seconds=2
flash='lt(mod(t+0.5\,1)\,0.1)'

# video NAME COLOUR TURNS ENCODER-OPTIONS...: waves that move a whole number of
# periods in a loop, a ball that goes round once, the name, and the flash.
video() {
	local name=$1 hue=$2 turn=$3
	shift 3
	ffmpeg -v error -y -bitexact -filter_complex "
		color=c=black:s=${size}:r=${rate}:d=${seconds},format=yuv420p,
		geq=lum='96+40*sin(2*PI*(X/W+Y/H*${turn}-T/${seconds}))+24*sin(2*PI*(Y/H-T/${seconds}))'
		   :cb='128+${hue}*sin(2*PI*(X/W*0.5+0.25))':cr='128-${hue}*cos(2*PI*(Y/H*0.5-0.25))'[back];
		color=c=white:s=28x28:r=${rate}:d=${seconds},format=yuva420p,
		geq=lum=235:cb=128:cr=128:a='255*lt(hypot(X-13.5,Y-13.5),13)'[ball];
		[back][ball]overlay=x='(W-w)/2+W*0.38*cos(2*PI*t/${seconds}*${turn})':y='(H-h)/2+H*0.38*sin(2*PI*t/${seconds}*${turn})',
		drawtext=font=DejaVu Sans:text='${name}':fontsize=64:fontcolor=white:shadowcolor=black@0.5:shadowx=2:shadowy=2:x=(w-text_w)/2:y=(h-text_h)/2,
		drawbox=x=0:y=0:w=iw:h=ih:color=white:t=8:enable='${flash}'" \
		-an -g 15 -keyint_min 15 -auto-alt-ref 0 -lag-in-frames 0 -error-resilient 1 "$@" \
		-f ivf "${name}.ivf"
}

# tone NAME HZ: silence with a beep under each flash. It ends 10 ms early, so
# that the encoder's delay makes whole packets of 20 ms: 100 of them, one a page.
tone() {
	ffmpeg -v error -y -bitexact -f lavfi -i "
		aevalsrc=exprs='0.4*sin(2*PI*$2*t)*lt(mod(t+0.5\,1)\,0.1)':s=48000:d=1.99" \
		-c:a libopus -b:a 32k -vbr on -frame_duration 20 -page_duration 1 \
		-f ogg "$1.ogg"
}

video alice 60 1 -c:v libvpx -b:v 350k -crf 12 -deadline best
video bob -60 -1 -c:v libvpx-vp9 -b:v 350k -crf 34 -deadline good -cpu-used 1 -row-mt 0
tone alice 440
tone bob 660
