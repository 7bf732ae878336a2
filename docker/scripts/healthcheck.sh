#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whether the policy server of this container answers. VLA_PORT: its port (8000).
set -euo pipefail

exec python3 - <<'PYTHON'
import os
import sys
import urllib.request

port = os.environ.get("VLA_PORT", "8000")
with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
    sys.exit(answer.status != 200)
PYTHON
