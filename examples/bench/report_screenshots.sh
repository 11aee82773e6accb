#!/usr/bin/env bash
# Takes pictures of a report as a person sees it: wide and narrow (360 pixels), light and dark, and on paper.
# They are to be looked at: nothing may overlap, and a narrow page may not scroll sideways.
#
#   examples/bench/report_screenshots.sh REPORT_FOLDER PICTURES_FOLDER
#
# Needs Chromium (CHROMIUM names another one), and pdftoppm for the paper.
set -euo pipefail

page=$(cd "$1" && pwd)/report.html
mkdir -p "$2"
out=$(cd "$2" && pwd)
chromium=${CHROMIUM:-chromium}
height=${HEIGHT:-6000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

browser() {
  "$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
    --force-device-scale-factor=1 "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}

# A browser's window has a least width, which a frame has not.
echo "<body style='margin:0'><iframe src='file://$page' style='width:360px;height:${height}px;border:0'></iframe>" \
  >"$work/narrow.html"

for theme in light dark; do
  if [ $theme = dark ]; then scheme=0; else scheme=1; fi
  browser --blink-settings=preferredColorScheme=$scheme --window-size="1280,$height" \
    --screenshot="$out/$theme.png" "file://$page"
  browser --blink-settings=preferredColorScheme=$scheme --window-size="500,$height" \
    --screenshot="$out/$theme-narrow.png" "file://$work/narrow.html"
done
# In a dark browser too, paper is light.
browser --blink-settings=preferredColorScheme=0 --no-pdf-header-footer --print-to-pdf="$out/paper.pdf" "file://$page"
pdftoppm -r 60 -png "$out/paper.pdf" "$out/paper"
ls "$out"
