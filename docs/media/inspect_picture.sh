#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Draw inspect.png: the first episode of a data set, as `inspect --html` shows it. Needs a Chromium.
#     docs/media/inspect_picture.sh outputs/place/dataset           (inspect_gap.png: the same of a set with a gap)
set -euo pipefail
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
page=$(mktemp --suffix .html)
trap 'rm -f "$page"' EXIT
ros2 run vla_recorder inspect "$1" --episode 0 --html "$page"
"$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1040,830 \
    --screenshot="$(dirname "${BASH_SOURCE[0]}")/inspect.png" "file://$page"
